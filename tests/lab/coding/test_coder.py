"""Codes of images against the bound: the stack, distributions on the lattice, and the way there and back."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from diffenc_jax.core.errors import RunError
from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.diffusion.gaussian import diffuse, velocity_from_image
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.uncertainty import standard_errors
from diffenc_jax.lab.coding.coder import Coder
from diffenc_jax.lab.coding.lattice import Gaussians, Lattice
from diffenc_jax.lab.coding.networks import CodingNetworks
from diffenc_jax.lab.coding.stack import Stack
from tests.evaluation.gaussian import DEVIATION, PARAMS, SHAPE, evaluate, images, make, run_with


def random_operations(count):
    """(mean, std, distances in std) for Gaussians of all widths, some of them far from the mean."""
    random = np.random.RandomState(0)
    for _ in range(count):
        size = random.randint(1, 300)
        far = random.standard_t(1.2, size) * random.choice([1.0, 1e4])
        yield random.normal(0, 1e4, size), np.exp(random.uniform(-1, 5, size)), far


@pytest.mark.parametrize("pops", [lambda number: number < 40, lambda number: number % 2 == 0], ids=["first", "in turn"])
def test_everything_is_undone(pops):
    stack, done = Stack(), []
    for number, (mean, std, far) in enumerate(random_operations(80)):
        if pops(number):
            pad = np.random.RandomState(number).randint(0, 2**16, 2 * len(mean))
            stack.mask(pad)
            done.append((stack.pop_gaussian(mean, std), mean, std, pad))
        else:
            k = np.clip(np.rint(mean + std * far), -(2**31), 2**31).astype(np.int64)
            stack.push_any(k, mean, std)
            done.append((k, mean, std, None))
    back = Stack(stack.words())
    assert not back.is_initial
    for k, mean, std, pad in reversed(done):
        if pad is None:
            np.testing.assert_array_equal(back.pop_any(mean, std), k)
        else:
            back.push_gaussian(k, mean, std)
            back.mask(pad)
    assert back.is_initial
    assert len(back.words()) == stack.initial_words + 1


def test_popped_and_pushed_bits_are_those_of_the_probability():
    mean, std = np.tile([0.3, -1234.7, 5e8, -5e8, 0.0], 40), np.tile([4.0, 0.7, 30.0, 4.0, 400.0], 40)
    stack = Stack()
    stack.mask(np.random.RandomState(0).randint(0, 2**16, 1000))
    before = stack.bits
    k = stack.pop_gaussian(mean, std)
    cells = norm.cdf(k + 0.5, mean, std) - norm.cdf(k - 0.5, mean, std)
    assert before - stack.bits == pytest.approx(-np.log2(cells).sum(), rel=1e-3)
    stack.push_any(k, mean, std)
    assert stack.bits == pytest.approx(before, abs=0.2)


def test_one_wide_distribution_makes_no_other_longer():
    std = np.append(np.full(2000, 4.0), 2e4)
    k = np.rint(std * np.random.RandomState(0).normal(size=2001)).astype(np.int64)
    stack = Stack()
    before = stack.bits
    stack.push_any(k, np.zeros(2001), std)
    cost = -np.log2(norm.cdf(k + 0.5, 0, std) - norm.cdf(k - 0.5, 0, std)).sum()
    assert stack.bits - before == pytest.approx(cost, abs=0.1)


def test_what_cannot_have_been_popped_is_refused():
    with pytest.raises(RunError, match="not decoded to the images"):
        Stack().push_gaussian(np.array([0, 100]), np.zeros(2), np.ones(2))


def test_a_stack_that_is_popped_to_nothing_is_not_initial():
    stack = Stack(np.array([2**23], np.uint32))
    np.testing.assert_array_equal(stack.pop_categorical(np.array([[0.5, 0.5]])), [1])
    assert not stack.is_initial


KNOTS = np.array([-9.0, -3.0, 0.5, 1.0, 4.0])


def random(*shape, seed=0):
    return np.random.RandomState(seed).normal(size=shape)


@pytest.mark.parametrize("std", [1.0, 2.0, 8.0])
def test_rounded_distributions_have_the_moments_of_what_they_replace(std):
    mean = np.linspace(-0.5, 0.5, 11)
    rounded = Gaussians(mean, np.full(11, std)).rounded()
    k = np.arange(-100, 101)[:, None]
    cells = norm.cdf(k + 0.5, *rounded) - norm.cdf(k - 0.5, *rounded)
    np.testing.assert_allclose((cells * k).sum(axis=0), mean, atol=1e-6)
    np.testing.assert_allclose((cells * (k - mean) ** 2).sum(axis=0), std**2, atol=1e-5)


def test_both_orders_have_one_joint_distribution():
    """q(z_i | z_{i+1}, x) q(z_{i+1} | x) = q(z_i | x) q(z_{i+1} | z_i) for an encoder that does not drift."""
    lattice = Lattice(KNOTS, 0.25)
    x, z = random(5, 2, 2, 1), random(2, 5, 2, 2, 1, seed=1)

    def log_density(distribution, i, z):
        return norm.logpdf(z / lattice.unit[i], *distribution)

    for i in range(lattice.depth):
        backward = log_density(lattice.backward(i, z[1], x, x), i, z[0])
        backward += log_density(lattice.direct(i + 1, x), i + 1, z[1])
        forward = log_density(lattice.direct(i, x), i, z[0]) + log_density(lattice.forward(i + 1, z[0]), i + 1, z[1])
        np.testing.assert_allclose(backward, forward, rtol=1e-6)


def test_a_step_costs_what_the_loss_says(x64):
    """KL(q(z_i | z_{i+1}, x) ‖ p(z_i | z_{i+1})) for an encoder that drifts, and any ratio."""
    process = Process(
        NonTrainable(), lambda z, gamma: Prediction(velocity_from_image(z, 0.5 * jnp.tanh(z), gamma)), lambda t: t
    )
    steps = Steps(jnp.asarray(KNOTS), Table(jnp.asarray([0.5, 0.9, 1.3, 0.7])))
    lattice, x, eps = (
        Lattice(KNOTS, 0.25),
        jnp.asarray(random(3, 2, 2, 1)),
        jnp.asarray(random(3, 2, 2, 1, seed=1)),
    )

    @jax.jit
    def at(i):
        """The loss of a step, and what the distributions of the path and of the model follow from."""
        step = steps.step(i, 3)
        encoding = step.encode(process.encoder, x)
        z_t, v = diffuse(encoding.x_t, step.gamma_t, eps)
        loss = step.loss(process.errors(step, process.estimate(z_t, step.gamma_t), v, encoding)) / steps.depth
        return loss, (z_t, process.encoder.mean(x, step.gamma_s), encoding.x_t), model_step(process, z_t, step)

    for i in range(steps.depth):
        loss, of_path, of_model = jax.tree.map(np.asarray, at(i))
        path, model = lattice.backward(i, *of_path), lattice.model(i, *of_model)
        np.testing.assert_allclose(path.divergence(model).sum(axis=(1, 2, 3)), loss, rtol=1e-9)


COUNT, GAMMA = 200, np.array([-6.0, -3.5, -2.0, -1.0, 0.0, 1.0, 2.5, 5.0])
ORDERS = ("ancestral", "bit_swap")
NAMES = [(0, number) for number in range(COUNT)]


def exact_steps():
    """Steps with the best ratio of the exact denoiser, 1 / (1 + u) with u = (e^(γ_t - γ_s) - 1) α² Var[x | z] / σ²."""
    alpha2, sigma2 = 1 / (1 + np.exp(GAMMA)), 1 / (1 + np.exp(-GAMMA))
    variance = DEVIATION**2 * sigma2 / (DEVIATION**2 * alpha2 + sigma2)
    u = np.expm1(np.diff(GAMMA)) * (alpha2 * variance / sigma2)[1:]
    return Steps(jnp.asarray(GAMMA, jnp.float32), Table(jnp.asarray(1 / (1 + u), jnp.float32)))


def coder(order, spacing, steps, batch_size=COUNT):
    networks = CodingNetworks(run_with(loss__depth=len(GAMMA) - 1), PARAMS, steps, batch_size)
    return partial(Coder, networks, Lattice(GAMMA, spacing), order)


@pytest.mark.parametrize("order", ORDERS)
def test_a_coarse_lattice_costs_what_theory_says(order):
    """½ (r - 1 - ln r) nats per dimension and latent with r = 1 / (1 + δ²/12σ²), where the model is right."""
    pixels = images(COUNT, 5)
    for spacing in (2.0, 0.5):
        lengths = coder(order, spacing, exact_steps())([Stack() for _ in pixels], NAMES).encode(pixels)
        w = np.append(np.asarray(exact_steps().ratio.ratio, float), 1.0)
        r = 1 / (1 + spacing**2 * w / 12)
        expected = 0.5 * np.prod(SHAPE) * np.sum(r - 1 - np.log(r))
        extra = lengths.code - lengths.bound
        assert abs(extra.mean() - expected) < 4 * extra.std() / np.sqrt(COUNT) + 0.1 * expected


@pytest.mark.parametrize("order", ORDERS)
def test_the_code_is_as_long_as_the_bound(order):
    """Code lengths, and the bound with the same latents, agree with the bound by other noise."""
    changes = {"loss__depth": 5, "loss__variance_ratio": 0.7, "model__schedule__gamma_min": -6.0}
    coded = make(eval__estimator="code_length", eval__options={"order": order}, eval__passes=8, **changes)
    bound = make(eval__passes=320, eval__time_sampling="uniform", **changes)
    pixels = images(COUNT, 3)
    lengths = evaluate(coded, pixels, coded.tables(PARAMS))
    expected = bound.total(evaluate(bound, pixels, bound.tables(PARAMS)))
    for name in ("code_length", "bound"):
        noise = np.hypot(standard_errors(lengths[name], 8).noise, standard_errors(expected, 8).noise)
        assert abs(lengths[name].mean() - expected.mean()) < 4 * noise < 0.08 * expected.mean()


@pytest.mark.parametrize("order", ORDERS)
def test_a_stack_holds_many_images_and_nothing_else(order):
    """Each batch takes its bits from those before it: only the first one takes initial bits."""
    pixels, coding = images(60, 5), coder(order, 0.25, exact_steps(), batch_size=4)
    stacks, initial = [Stack() for _ in range(4)], []
    for first in range(0, 60, 4):
        coding(stacks, NAMES[first : first + 4]).encode(pixels[first : first + 4])
        initial.append(sum(stack.initial_words for stack in stacks))
    assert initial[-1] <= initial[0] + 4
    back = [Stack(stack.words()) for stack in stacks]
    for first in reversed(range(0, 60, 4)):
        found = coding(back, NAMES[first : first + 4]).decode()
        np.testing.assert_array_equal(found, pixels[first : first + 4])
    assert all(stack.is_initial for stack in back)


@pytest.mark.parametrize("ratio", [np.nan, np.inf])
def test_outputs_that_cannot_be_coded_are_refused(ratio):
    steps = exact_steps()
    broken = steps._replace(ratio=Table(np.float32([ratio] * steps.depth)))
    with pytest.raises(RunError, match="is not finite or has no width"):
        coder("bit_swap", 0.25, broken, batch_size=1)([Stack()], NAMES[:1]).encode(images(1, 5))

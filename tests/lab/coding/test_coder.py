"""Codes of images against the bound, and their way back."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.core.errors import RunError
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.uncertainty import standard_errors
from diffenc_jax.lab.coding.coder import Coder
from diffenc_jax.lab.coding.lattice import Lattice
from diffenc_jax.lab.coding.networks import CodingNetworks
from diffenc_jax.lab.coding.stack import Stack
from tests.evaluation.gaussian import DEVIATION, PARAMS, SHAPE, evaluate, images, make, run_with

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

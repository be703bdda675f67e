"""Variance ratios that depend on z_t: in a world of 16 images, every use of a ratio belongs to one distribution."""

from dataclasses import replace
from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.ancestral import ancestral
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Affine, Identity, NonTrainable
from diffenc_jax.diffusion.gaussian import Prediction, align, alpha, velocity_from_image
from diffenc_jax.diffusion.importance_weights import log_weight
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.ratios import ByErrorHead, ByEstimate, Table, interpolate
from diffenc_jax.diffusion.reverse import ThroughEncoder, mean
from diffenc_jax.diffusion.schedules import Polynomial
from diffenc_jax.diffusion.steps import Steps
from tests.diffusion.formulas import exact_velocity, process_of

LEVELS, DEPTH, GAMMA_0, GAMMA_1 = 4, 3, -2.0, 3.0
DECODER = Levels(LEVELS)
IMAGES = np.asarray(list(product(range(LEVELS), repeat=2)), np.uint8)
GRID = np.linspace(-6.0, 6.0, 91)
DRAWS = 20_000


def predict(z, gamma):
    """A network that knows little, with an error head that depends on both pixels."""
    turned = jnp.stack([z[:, 0] + 0.3 * z[:, 1], z[:, 1] - 0.2 * z[:, 0]], axis=1)
    log_error = 0.5 * jnp.cos(2.0 * turned) - 2.2
    return Prediction(velocity_from_image(z, 0.6 * jnp.tanh(turned), gamma), log_error=log_error)


def gamma(t):
    return GAMMA_0 + (GAMMA_1 - GAMMA_0) * t


def warp(gamma):
    """Another γ for each of the two pixels."""
    schedule = Polynomial(GAMMA_0, GAMMA_1, shape=(2,))
    params = {name: jnp.asarray(value) for name, value in (("a", [0.5, 0.0]), ("b", [-0.3, 0.4]), ("c", [1.0, 0.7]))}
    return schedule.apply({"params": params}, gamma, method="warp")


def network(x, gamma):
    """An encoder's network that sees both pixels."""
    return 0.3 * jnp.sin(2.0 * x[:, ::-1] + 0.4 * x + align(gamma, x))


def both(x, gamma):
    return jnp.concatenate([network(x, gamma), jnp.cos(3.0 * x[:, ::-1] - x)], axis=1)


PROCESSES = {
    "nontrainable": Process(NonTrainable(), predict, gamma, decoder=DECODER),
    "affine": Process(Affine(0.2, both), predict, gamma, ThroughEncoder(), DECODER),
    "polynomial": Process(Identity(), predict, gamma, decoder=DECODER, warp=warp),
}


def ratios():
    """One of each kind. They stay above 1/2, below which the weights of paths have no variance."""
    rows = np.asarray([0.8, 1.0, 1.2])[:, None]
    knots, error = np.asarray([-1.0, -0.2, 0.1, 0.9]) * np.ones_like(rows), np.asarray([0.05, 0.7, 0.1, 0.5]) * rows
    return {
        "table": Table(jnp.asarray([[0.9, 0.6], [0.7, 1.2], [0.55, 0.8]])),
        "estimate": ByEstimate(jnp.asarray(knots), jnp.asarray(error)),
        "error_head": ByErrorHead(),
    }


WORLDS = [
    pytest.param(("nontrainable", "estimate"), marks=pytest.mark.slow),
    ("affine", "table"),
    ("polynomial", "error_head"),
]


@pytest.fixture(params=WORLDS, ids="-".join)
def world(request, x64):
    """A process, its steps, and the probability of each image [16] by quadrature over the whole path."""
    return world_of(*request.param)


@cache
def world_of(process, ratio):
    process = PROCESSES[process]
    steps = jax.jit(process.uniform_steps, static_argnums=0)(DEPTH)._replace(ratio=ratios()[ratio])
    return process, steps, np.asarray(jax.jit(lambda: probabilities(process, steps))())


def probabilities(process, steps):
    """p(x) = ∫ p(z_1) Π p(z_s | z_t) p(x | z_0): densities on a grid of both pixels, one step after another."""
    width = GRID[1] - GRID[0]
    z = jnp.asarray(np.stack(np.meshgrid(GRID, GRID, indexing="ij"), axis=-1).reshape(-1, 2))
    density = jnp.exp(-0.5 * jnp.sum(z**2, axis=1)) / (2 * jnp.pi)

    def earlier(k, density):
        """p(z_s) on the grid from p(z_t), by the density [grid, 2, grid] of each pixel of z_s given z_t."""
        step = process.step(steps, DEPTH - 1 - k, len(z))
        estimate = process.estimate(z, step.gamma_t)
        centre = mean(z, process.assumed(estimate, step), step)
        variance = align(step.variance(process.encoder), z) / step.weight(estimate)
        variance = jnp.broadcast_to(variance, z.shape)[..., None]
        kernels = jnp.exp(-0.5 * (GRID - centre[..., None]) ** 2 / variance) / jnp.sqrt(2 * jnp.pi * variance)
        return ((density[:, None] * kernels[:, 0]).T @ kernels[:, 1]).reshape(-1) * width**2

    density = jax.lax.fori_loop(0, DEPTH, earlier, density)
    return pixel_probabilities(z) @ density * width**2


def pixel_probabilities(z_0):
    """p(image | z_0) [16, B]."""
    gamma_0 = jnp.asarray(GAMMA_0)

    def one(image):
        pixels = jnp.broadcast_to(image, z_0.shape)
        return jnp.exp(DECODER.log_likelihood(z_0 / alpha(gamma_0), pixels, gamma_0))

    return jax.vmap(one)(jnp.asarray(IMAGES))


def test_probabilities_sum_to_one_and_lie_above_the_bound(world):
    process, steps, probability = world
    assert probability.sum() == pytest.approx(1.0, abs=1e-6)
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    eps = jnp.asarray(np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2))
    weights = np.outer(weights, weights).ravel() / (2 * np.pi)

    def bound(image):
        """The bound of one image: expectations over the noise of z_t by quadrature, and the mean over steps."""
        pixels, noise = jnp.broadcast_to(image, eps.shape), losses.Noise(jnp.zeros(len(eps)), eps, eps)
        at = lambda i: losses.bound_at(process, pixels, process.step(steps, i, len(eps)), noise).total  # noqa: E731
        return jnp.sum(weights * jax.vmap(at)(jnp.arange(DEPTH)).mean(axis=0))

    assert np.all(jax.jit(jax.vmap(bound))(IMAGES) > -np.log(probability))


def test_paths_weigh_what_the_model_says(world):
    """E w = p(x) (importance_weights.py)."""
    process, steps, probability = world
    noise = jnp.asarray(np.random.RandomState(0).normal(size=(DEPTH + 1, DRAWS, 2)))
    draw = jax.jit(lambda pixels: log_weight(process, steps, pixels, noise[0], lambda k: noise[k + 1]))
    for number in (5, 10):  # grey ones, whose weights vary least
        weights = np.exp(np.asarray(draw(np.tile(IMAGES[number], (DRAWS, 1)))))
        assert abs(weights.mean() - probability[number]) < 4 * weights.std() / np.sqrt(DRAWS)


def test_samples_have_the_probabilities(world):
    process, steps, probability = world
    noise = jnp.asarray(np.random.RandomState(1).normal(size=(DEPTH + 1, DRAWS, 2)))
    sample = jax.jit(lambda: pixel_probabilities(ancestral(process, steps, noise[0], lambda k: noise[k + 1])))
    found = np.asarray(sample())
    assert np.all(np.abs(found.mean(axis=1) - probability) < 4.5 * found.std(axis=1) / np.sqrt(DRAWS))


@pytest.mark.parametrize("values", [(0.5, 2.0, 1.0, 1.0), (3.0, 3.0, 0.0, 7.0)])
def test_ramps_interpolate(values):
    knots = np.asarray([-0.9, -0.2, 0.4, 0.4], np.float32)  # with values that agree where knots do
    values = np.asarray(values, np.float32)
    values[3] = values[2]
    x = np.linspace(-2.0, 2.0, 40, dtype=np.float32).reshape(2, 20)
    rows = [np.stack([knots, knots + 1]), np.stack([values, 2 * values])]
    expected = [np.interp(x[0], knots[:3], values[:3]), 2 * np.interp(x[1], knots[:3] + 1, values[:3])]
    np.testing.assert_allclose(jax.jit(interpolate)(x, *rows), expected, rtol=1e-5, atol=1e-6)
    shared = jax.jit(interpolate)(x, *(row[:1] for row in rows))
    np.testing.assert_allclose(shared[0], expected[0], rtol=1e-5, atol=1e-6)
    with jax.enable_x64(True):  # each argument may be of another type
        fine = jax.jit(interpolate)(x.astype(np.float64), *rows)
    np.testing.assert_allclose(fine, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("kind", ["table", "estimate", "error_head"])
def test_steps_are_rebuilt_from_their_arrays(kind):
    steps = Steps(jnp.asarray(np.linspace(GAMMA_0, GAMMA_1, DEPTH + 1)), ratios()[kind])
    again = Steps.from_arrays(steps.to_arrays() | {"mass": jnp.asarray([1.0])})
    assert type(again.ratio) is type(steps.ratio)
    jax.tree.map(np.testing.assert_array_equal, again, steps)


def test_an_error_head_that_knows_the_variance_makes_every_depth_as_good_as_infinite(x64):
    """Data N(0, 1): V = E[e² | z] = 1 at every z, and the bound's diffusion term is 6.64664 nats at every depth."""
    depth, exact = 10, exact_velocity(jnp.ones_like)
    process = process_of(Identity(), exact)
    process = replace(process, predict=lambda z, g: Prediction(exact(z, g), log_error=jnp.zeros_like(z)))
    signs = np.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # their mean is that over N(0, I)
    x, eps = (jnp.asarray(np.tile(signs[:, i], depth)[:, None]) for i in (0, 1))
    t = jnp.asarray(np.repeat((np.arange(depth) + 0.5) / depth, 4))

    @jax.jit
    def loss_and_slope():
        at = process.uniform_steps(depth)._replace(ratio=ByErrorHead()).at(t)
        errors = losses.errors_at(process, at, x, eps)
        score = lambda log_error: losses.error_score(errors, jnp.full_like(x, log_error)).mean()  # noqa: E731
        return at.loss(errors).mean(), jax.grad(score)(0.0)

    loss, slope = loss_and_slope()
    assert float(loss) == pytest.approx(6.64664, abs=1e-5)
    assert float(slope) == pytest.approx(0.0, abs=1e-6)


def test_without_an_error_head_its_ratio_is_refused(x64):
    process = process_of(Identity(), exact_velocity(jnp.ones_like))
    pixels, key = jnp.asarray(np.zeros((2, 3), np.uint8)), jax.random.key(0)
    bound = lambda: losses.bound(process, pixels, key, process.uniform_steps(4)._replace(ratio=ByErrorHead()))  # noqa: E731
    with pytest.raises(InputError, match="must return a `log_error`"):
        jax.eval_shape(bound)

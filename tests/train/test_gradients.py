"""The gradient of a batch: in parts, with the end points of some images, and by a learned schedule's interior."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.encoders import NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.losses import Noise, bound_at
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.schedules import FixedLinear, Monotone
from diffenc_jax.model import DataSpec
from diffenc_jax.train import gradients
from diffenc_jax.train.program import TrainingProgram
from diffenc_jax.train.state import averages
from tests import tiny
from tests.diffusion.formulas import exact_velocity
from tests.formula_model import formula_model

SPEC = DataSpec((1, 1, 3), 256)
BITS = SPEC.dims * math.log(2)


def toy(schedule):
    """A model with an exact denoiser of x ~ N(0, I) under x_t = α_t² x, times params['scale'].

    The encoder is x_t = α_t² x, or one of params['encoder'] where there is such.
    """
    exact = exact_velocity(lambda gamma: jax.nn.sigmoid(-gamma))

    def process_of(params):
        encoder = NonTrainable()
        if "encoder" in params:
            encoder = Trainable(lambda x, gamma: jnp.sin(params["encoder"] * x + 0.1 * align(gamma, x)))
        predict = lambda z, gamma: Prediction(params["scale"] * exact(z, gamma))  # noqa: E731
        return Process(encoder, predict, lambda t: schedule.apply({"params": params["schedule"]}, t))

    return formula_model(SPEC, schedule, NonTrainable(), process_of)


FIXED, LEARNED = map(toy, (FixedLinear(-13.3, 5.0), Monotone(-13.3, 5.0, hidden=16)))
gradient = jax.jit(gradients.gradient, static_argnums=0)


@partial(jax.jit, static_argnums=(0, 3, 4))
def accumulated_gradient(model, params, draw, parts, devices):
    """`gradients.accumulated_gradient` of a draw in `parts` parts."""
    return gradients.accumulated_gradient(model, params, draw.split(parts, devices))


@pytest.fixture
def params(x64):
    """Parameters of LEARNED."""
    schedule = jax.jit(LEARNED.schedule.init)(jax.random.key(0), np.zeros(1))["params"]
    fresh = jax.tree.map(np.float64, {"schedule": schedule, "scale": 0.9})
    return tiny.away_from_zero(fresh, scale=0.1)


@pytest.fixture
def draw(x64):
    """Eight images with the end points of all."""
    rng, shape = np.random.RandomState(0), (8, *SPEC.shape)
    pixels = rng.randint(0, 256, shape).astype(np.uint8)
    eps_0, eps_t = rng.normal(size=(2, *shape))
    return gradients.StepInputs(Batch(pixels), Noise(rng.uniform(size=8), eps_0, eps_t), np.ones(8), jax.random.key(0))


def with_endpoints_of(draw, first, k):
    """The draw with the end points of the images `first`, `first` + k, ... only."""
    endpoints, eps_0 = jax.tree.map(lambda x: x[first::k], (draw.batch, draw.noise.eps_0))
    return draw._replace(noise=draw.noise._replace(eps_0=eps_0), endpoints=endpoints)


def assert_close(actual, expected, rtol=1e-9, atol=0.0):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), actual, expected)


def test_every_image_has_its_turn():
    images = np.arange(12)[:, None]
    turn = jax.jit(lambda first: gradients.every_kth(jnp.asarray(images), 3, first))
    turns = [np.asarray(turn(first))[:, 0] for first in range(3)]
    np.testing.assert_array_equal(np.sort(np.concatenate(turns)), np.arange(12))
    np.testing.assert_array_equal(turns[1], [1, 4, 7, 10])
    assert gradients.every_kth(jnp.asarray(images), 1, jnp.asarray(0)) is None


def test_with_some_end_points_the_mean_gradient_is_that_of_all(draw):
    params = {"scale": np.float64(0.9), "encoder": np.asarray([0.3, -0.2, 0.5]), "schedule": {}}
    outputs, expected = gradient(FIXED, params, draw)
    each = [gradient(FIXED, params, with_endpoints_of(draw, first, 4)) for first in range(4)]
    assert_close(jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *(grads for _, grads in each)), expected)
    objectives = [float(outputs.objective) for outputs, _ in each]
    assert np.mean(objectives) == pytest.approx(float(outputs.objective), rel=1e-9)
    assert np.ptp(objectives) > 1e-4


@pytest.mark.slow
def test_the_interior_is_trained_on_the_square_and_its_ends_on_the_bound(params, draw):
    outputs, grads = gradient(LEARNED, params, draw)

    def terms(params, draw):
        point = LEARNED.point(params, draw.noise.t)
        return bound_at(LEARNED.bind(params), draw.batch.data, point, draw.noise)

    @jax.jit
    def by_hand(params, draw):
        value, of_bound = jax.value_and_grad(lambda p: terms(p, draw).total.mean() / BITS)(params)
        of_square = jax.grad(lambda p: jnp.mean((terms(p, draw).diffusion / BITS) ** 2))(params)
        return value, of_bound, of_square["schedule"]["network"]

    expected_value, of_bound, of_square = by_hand(params, draw)
    expected = of_bound | {"schedule": of_bound["schedule"] | {"network": of_square}}
    assert float(outputs.objective) == pytest.approx(float(expected_value), rel=1e-12)
    assert_close(grads, expected, 1e-8, 1e-10)
    # The gradient of the bound for the interior differs at so few times.
    assert not np.allclose(of_square["kernel"], of_bound["schedule"]["network"]["kernel"], rtol=0.1)


def test_parts_of_a_batch_have_the_gradients_of_the_whole(params, draw):
    """Half of the block of each of two devices makes a part. Its end points are not those of its own images."""
    draw, order = with_endpoints_of(draw, 1, 2), np.array([0, 1, 4, 5, 2, 3, 6, 7])
    outputs, expected = gradient(LEARNED, params, draw)
    accumulated, grads = accumulated_gradient(LEARNED, params, draw, 2, 2)
    assert_close(grads, expected, atol=1e-12)
    np.testing.assert_allclose(accumulated.objective, outputs.objective)
    np.testing.assert_array_equal(accumulated.t, draw.noise.t[order])
    np.testing.assert_allclose(accumulated.terms.diffusion, np.asarray(outputs.terms.diffusion)[order])


def stepped(parts, scan):
    """State and report after a step; the same images, times and noise whatever the parts, and no dropout."""
    layers = {"model__score__layers": 2, "model__score__dropout": 0.0, "model__scan": scan}
    config = tiny.config("vdm", small=True, **layers, train__accumulate=parts, train__endpoint_interval=2)
    model = tiny.model(config)
    seed, step = np.uint32(0), TrainingProgram(model, config, AbstractMesh((2, 1), ("data", "fsdp")))
    return jax.jit(step.train_step)(jax.jit(step.init)(seed), Batch(jnp.asarray(tiny.images(8))), seed)


@pytest.mark.slow
def test_parts_make_the_step_of_the_whole_batch():
    (whole, report), (parts, other) = stepped(1, False), stepped(4, True)
    for name, value in averages(report.meter).items():
        assert averages(other.meter)[name] == pytest.approx(value, rel=1e-5), name
    assert bool(other.finite)
    # Adam's first step is a quotient of a gradient and its size, so the gradients' rounding shows in the smallest ones.
    for a, b in zip(*(jax.tree.leaves(state.opt_state) for state in (whole, parts)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-7)

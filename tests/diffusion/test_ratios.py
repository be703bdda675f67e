"""Variance ratios that depend on z_t; that all uses of a ratio belong to one distribution is in test_tiny_worlds.py."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.gaussian import Prediction
from diffenc_jax.diffusion.ratios import ByErrorHead, ByEstimate, Table, interpolate
from diffenc_jax.diffusion.steps import Steps
from tests.diffusion.formulas import exact_velocity, process_of


def test_ramps_interpolate():
    """With a row per example or one for all; values agree where knots do, and each argument may be of another type."""
    knots = np.float32([[-0.9, -0.2, 0.4, 0.4], [0.1, 0.8, 1.4, 1.4]])
    values = np.float32([[0.5, 2.0, 1.0, 1.0], [3.0, 3.0, 0.0, 0.0]])
    x = np.linspace(-2.0, 2.0, 40).reshape(2, 20)
    for rows in (slice(None), slice(1)):
        pairs = zip(x, *(np.broadcast_to(array[rows], (2, 4)) for array in (knots, values)), strict=True)
        expected = [np.interp(one, knot[:3], value[:3]) for one, knot, value in pairs]
        for x64, tolerance in ((False, 1e-6), (True, 1e-14)):
            with jax.enable_x64(x64):
                found = jax.jit(interpolate)(x.astype(np.float64 if x64 else np.float32), knots[rows], values[rows])
            np.testing.assert_allclose(found, expected, atol=tolerance)


RATIOS = Table(np.ones(3)), ByEstimate(np.eye(3, 4), np.ones((3, 4))), ByErrorHead()


@pytest.mark.parametrize("ratio", RATIOS, ids=lambda ratio: type(ratio).__name__)
def test_steps_are_rebuilt_from_their_arrays(ratio):
    steps = jax.tree.map(jnp.asarray, Steps(np.linspace(-2.0, 3.0, 4), ratio))
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

"""Losses, variance ratios and importance weights; for their values see test_encoder_law.py and test_tiny_worlds.py."""

import dataclasses
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.encoders import Identity, NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align, diffuse, sum_dims
from diffenc_jax.diffusion.importance_weights import effective_draws, importance_bound, log_weight
from diffenc_jax.diffusion.process import Prediction
from diffenc_jax.diffusion.ratios import ByErrorHead, ByEstimate, Table, interpolate
from diffenc_jax.diffusion.steps import Step, Steps
from tests.diffusion.formulas import exact_velocity, in_both_precisions, process_of, schedule


def test_end_points_of_some_images_average_to_those_of_all(x64):
    """Over all choices of one image in three, at both depths; what lies between the end points is as it was."""
    rng = np.random.RandomState(0)
    pixels = rng.randint(0, 256, (6, 2, 3)).astype(np.uint8)
    t, (eps_0, eps_t) = rng.uniform(size=6), rng.normal(size=(2, 6, 2, 3))
    process = process_of(Trainable(lambda x, gamma: jnp.sin(x + align(gamma, x))), exact_velocity(jax.nn.sigmoid))

    @jax.jit
    def bounds(pixels, t, eps_0, eps_t, *endpoints):
        step = Step(schedule(0.8 * t), schedule(t), Table(jnp.ones(6)), jnp.asarray(5.0))
        noise = losses.Noise(t, eps_0, eps_t)
        ends = losses.EndpointData(*endpoints) if endpoints else None
        terms = [losses.bound_at(process, pixels, at, noise, ends) for at in (process.instant(t), step)]
        return [(each, jax.tree.map(jnp.mean, each).total) for each in terms]

    at = lambda *ends: jax.tree.map(np.asarray, bounds(pixels, t, ends[0], eps_t, *ends[1:]))  # noqa: E731
    thirds = zip(*(at(eps_0[i::3], pixels[i::3]) for i in range(3)), strict=True)
    for (whole, _), of_thirds in zip(at(eps_0), thirds, strict=True):
        parts, means = zip(*of_thirds, strict=True)
        for i, part in enumerate(parts):
            np.testing.assert_allclose(part.diffusion, whole.diffusion, rtol=1e-9)
            np.testing.assert_allclose(part.reconstruction, whole.reconstruction[i::3], rtol=1e-9)
            np.testing.assert_allclose(part.latent, whole.latent[i::3], rtol=1e-9)
        assert sum(means) / 3 == pytest.approx(np.mean(sum(whole[:3])), rel=1e-12)
        assert max(means) - min(means) > 1e-3


def test_the_bound_draws_times_and_noise_from_one_key(x64):
    """Its mean over keys is that of `bound_at` under times and noise drawn by hand, at both depths."""
    rng, count = np.random.RandomState(0), 1_000
    pixels = jax.device_put(rng.randint(0, 17, (4, 2, 1)).astype(np.uint8))
    process = process_of(NonTrainable(), lambda z, gamma: 0.8 * z, pixel_levels=17)

    @jax.jit
    @jax.vmap
    def bounds(key, t, eps_0, eps_t):
        steps = process.uniform_steps(7)
        points, noise = (process.instant(t), steps.at(t)), losses.Noise(t, eps_0, eps_t)
        by_hand = [losses.bound_at(process, pixels, point, noise) for point in points]
        drawn = [losses.bound(process, pixels, key, path) for path in (None, steps)]
        return [[bound.total.mean() for bound in both] for both in zip(drawn, by_hand, strict=True)]

    noise = rng.uniform(size=(count, 4)), *rng.normal(size=(2, count, 4, 2, 1))
    for drawn, expected in np.asarray(bounds(jax.random.split(jax.random.key(0), count), *noise)):
        error = math.sqrt((drawn.var() + expected.var()) / count)
        assert abs(drawn.mean() - expected.mean()) < 4 * error
        assert drawn.std() < expected.std()  # the times are spread evenly


def test_the_derivative_head_learns_the_expected_slope(x64):
    """‖slope - ŝ‖² with the slope of the encoder at t, at infinite and finite depth; the bound is as without a head."""
    encoder = Trainable(lambda x, gamma: jnp.sin(x + align(gamma, x)))
    rng = np.random.RandomState(0)
    given = rng.randint(0, 256, (5, 3)).astype(np.uint8), rng.uniform(size=5), *rng.normal(size=(2, 5, 3))
    plain = process_of(encoder, exact_velocity(jax.nn.sigmoid))
    headed = dataclasses.replace(plain, predict=lambda z, gamma: Prediction(plain.predict(z, gamma).v, 0.3 * z))

    def found_and_expected(pixels, t, *noise):
        for point in (plain.instant(t), plain.uniform_steps(9).at(t)):
            ours, without = (losses.bound_at(each, pixels, point, losses.Noise(t, *noise)) for each in (headed, plain))
            x_t, slope, *_ = encoder.mean_and_slope(plain.decoder.values(pixels), point.gamma_t)
            z_t, _ = diffuse(x_t, point.gamma_t, noise[1])
            yield (ours.total, ours.head_losses["slope_error"]), (without.total, sum_dims((slope - 0.3 * z_t) ** 2))

    for found, expected in jax.jit(lambda *given: list(found_and_expected(*given)))(*given):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


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


def test_images_with_the_pixel_decoder_keep_their_digits_in_float32():
    """Two dimensions of pixels, float32 against float64 under the same noise."""
    pixels = np.asarray([[3, 9], [12, 5]], np.uint8)
    process = process_of(Identity(), exact_velocity(jnp.ones_like), pixel_levels=17)

    def weights(gamma, noise):
        path = Steps(gamma, Table(jnp.ones_like(gamma[1:])))
        return log_weight(process, path, jnp.asarray(pixels), noise[0], lambda k: noise[k + 1])

    noise = np.random.RandomState(0).normal(size=(9, 2, 2))
    single, double = in_both_precisions(weights, np.linspace(-8.0, 5.0, 9), noise)
    np.testing.assert_allclose(single, double, rtol=1e-5)


def test_effective_draws_against_a_by_hand():
    log_w = np.log(np.float32([[1.0, 1.0], [1.0, 3.0]]))
    draws, bound = jax.jit(lambda log_w: (effective_draws(log_w), importance_bound(log_w)))(log_w)
    np.testing.assert_allclose(draws, [2.0, 16 / 10], rtol=1e-6)
    np.testing.assert_allclose(bound, [0.0, -math.log(2.0)], atol=1e-6)

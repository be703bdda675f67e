"""The bound: end points of some images, its draws, and the derivative head; for its value see test_encoder_law.py."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.encoders import NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align, diffuse, sum_dims
from diffenc_jax.diffusion.process import Prediction
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.steps import Step
from tests.diffusion.formulas import exact_velocity, process_of, schedule


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

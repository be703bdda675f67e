"""Decoders against full sums over bins, and densities of real numbers against closed forms for Gaussians."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.decoders import Gaussian, Levels
from diffenc_jax.diffusion.density import log_prob
from diffenc_jax.diffusion.encoders import Encoded, Identity
from diffenc_jax.diffusion.flow import Solver
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.standard import Standard
from tests.diffusion.formulas import exact_denoiser, full_sum

log_likelihood = jax.jit(Levels.log_likelihood, static_argnums=0)
draw_pixel = jax.jit(Levels.draw, static_argnums=0)


@settings(deadline=None, max_examples=30)
@given(levels=st.sampled_from([2, 17, 256]), scale=st.floats(0.05, 40.0), seed=st.integers(0, 10**6))
def test_window_and_fallback_equal_the_full_sum(levels, scale, seed):
    """From a twentieth of a bin to forty bins of noise, also far outside [-1, 1]."""
    rng = np.random.RandomState(seed)
    gamma_0 = 2 * np.log(scale * 2 / levels)
    pixels = rng.randint(0, levels, (2, 30)).astype(np.uint8)
    u = 2 * (pixels + 0.5) / levels - 1 + np.exp(gamma_0 / 2) * rng.normal(size=pixels.shape)
    with jax.enable_x64(True):
        got = log_likelihood(Levels(levels), u, pixels, gamma_0)
    np.testing.assert_allclose(got, full_sum(u, pixels, gamma_0, levels), rtol=1e-9, atol=1e-12)


@partial(jax.jit, static_argnums=3)
def gradients(u, pixels, gamma_0, levels):
    return jax.grad(lambda u, gamma_0: log_likelihood(Levels(levels), u, pixels, gamma_0)[0], (0, 1))(u, gamma_0)


@pytest.mark.parametrize("scale", [0.166, 0.749, 0.751])
def test_gradients_do_not_see_the_window(x64, scale):
    rng = np.random.RandomState(0)
    gamma_0 = 2 * np.log(scale * 2 / 256)
    pixels = rng.randint(0, 256, (1, 50)).astype(np.uint8)
    u = 2 * (pixels + 0.5) / 256 - 1 + np.exp(gamma_0 / 2) * rng.normal(size=pixels.shape)

    du, dgamma = map(np.asarray, gradients(u, pixels, gamma_0, 256))
    step = 1e-6
    one = np.zeros_like(u)
    one[0, 3] = step
    numeric_u = (full_sum(u + one, pixels, gamma_0, 256) - full_sum(u - one, pixels, gamma_0, 256)) / (2 * step)
    numeric_gamma = (full_sum(u, pixels, gamma_0 + step, 256) - full_sum(u, pixels, gamma_0 - step, 256)) / (2 * step)
    np.testing.assert_allclose(du[0, 3], numeric_u[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dgamma, numeric_gamma[0], rtol=1e-5)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_nearest_pixel_undoes_the_pixel_values(levels):
    decoder, pixels = Levels(levels), np.arange(levels, dtype=np.uint8)[None]
    both = jax.jit(lambda pixels, u: (decoder.mode(decoder.values(pixels)), decoder.mode(u)))
    again, ends = both(pixels, np.float32([[-9.0, 9.0]]))
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(ends, [[0, levels - 1]])


@pytest.mark.parametrize(("levels", "scale"), [(17, 0.166), (256, 0.7), (17, 3.0), (2, 5.0)])
def test_draws_have_the_softmaxs_frequencies(x64, levels, scale):
    """At evenly spaced shares each pixel is drawn as often as its probability says, but for one draw."""
    count, gamma_0 = 1000, 2 * np.log(scale * 2 / levels)
    u = 2 * (np.asarray([-2.3, 0.0, 1.4, levels / 2 - 0.1, levels + 1.0]) + 0.5) / levels - 1
    share = np.broadcast_to((np.arange(count)[:, None] + 0.5) / count, (count, len(u)))
    drawn = np.asarray(draw_pixel(Levels(levels), np.broadcast_to(u, share.shape), gamma_0, share))
    assert drawn.dtype == np.uint8
    for column, value in enumerate(u):
        k = np.arange(levels, dtype=np.uint8)[:, None]
        expected = count * np.exp(full_sum(np.full((levels, 1), value), k, gamma_0, levels))
        got = np.bincount(drawn[:, column], minlength=levels)
        np.testing.assert_allclose(got, expected, atol=1.001)


def test_the_smallest_share_draws_nothing_improbable():
    """0 comes once in 2^23 draws; at the published noise a neighbour does once in 2^26."""
    u = np.full((1, 3), 2 * 100.5 / 256 - 1, np.float32)
    np.testing.assert_array_equal(draw_pixel(Levels(256), u, np.float32(-13.3), np.zeros_like(u)), [[100] * 3])


# The noise end is far, so that the marginal there is N(0, I).
DIMS, GAMMA_0, GAMMA_1 = 3, -13.3, 14.0
COVARIANCE = np.asarray([[1.0, 0.6, 0.0], [0.6, 0.5, 0.1], [0.0, 0.1, 0.2]])
STANDARD = Standard((1.0, -20.0, 3e3), (0.5, 4.0, 1e3))


def truth(gamma=None):
    """The density in the units of the data, smoothed by the noise of γ."""
    scale = np.diag(STANDARD.deviation)
    noise = 0.0 if gamma is None else np.exp(gamma)
    return scipy.stats.multivariate_normal(STANDARD.mean, scale @ (COVARIANCE + noise * np.eye(DIMS)) @ scale)


def gamma(t):
    return GAMMA_0 + (GAMMA_1 - GAMMA_0) * t


PROCESS = Process(Identity(), exact_denoiser(COVARIANCE), gamma, decoder=Gaussian(STANDARD))
X = truth().rvs(4, random_state=0)


def test_the_flows_density_is_that_of_the_data(x64):
    got = jax.jit(lambda x: log_prob(PROCESS, x, Solver(1e-7, 1e-7, reverse=True)))(jnp.asarray(X))
    np.testing.assert_allclose(got, truth(GAMMA_0).logpdf(X), atol=1e-4)


def test_the_gradient_is_the_score(x64):
    got = jax.jit(jax.grad(lambda x: log_prob(PROCESS, x, Solver(1e-6, 1e-6, reverse=True)).sum()))(jnp.asarray(X[:2]))
    expected = -(X[:2] - STANDARD.mean) @ np.linalg.inv(truth(GAMMA_0).cov)
    np.testing.assert_allclose(np.asarray(got) * STANDARD.deviation, expected * STANDARD.deviation, atol=1e-3)


def test_whole_numbers_have_no_density():
    with pytest.raises(ValueError, match="only real numbers have a density"):
        log_prob(Process(Identity(), PROCESS.predict, gamma, decoder=Levels(2)), jnp.asarray(X))


def test_the_bound_is_near_the_density():
    """The bound of the best network lies above -log p by little, on average over the noise."""
    data = jnp.asarray(STANDARD.apply(X), jnp.float32)
    draw = jax.jit(jax.vmap(lambda key: losses.bound(PROCESS, data, key).total))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    error = drawn.std() / np.sqrt(len(drawn))
    np.testing.assert_allclose(drawn.mean(axis=0), -truth().logpdf(X), atol=4 * error)


def test_the_control_variate_has_no_mean_and_takes_most_of_the_noise():
    data = jnp.broadcast_to(jnp.asarray(STANDARD.apply(X[0]), jnp.float32), (10_000, DIMS))
    eps = jax.random.normal(jax.random.key(0), data.shape)
    point = PROCESS.point(jnp.full(len(data), 0.1))
    loss = jax.jit(lambda: point.loss(losses.errors_at(PROCESS, point, data, eps)))()
    control = point.control(eps)
    assert float(control.mean()) == pytest.approx(0.0, abs=4 * float(control.std()) / np.sqrt(len(data)))
    assert (loss - control).std() < 0.05 * loss.std()


@pytest.mark.parametrize("log_std", [None, 0.3])
def test_the_reconstruction_is_its_mean_over_noise(log_std):
    """Also where the encoder has moved the data, so that x_0 is not x."""
    decoder, gamma_0, rng = Gaussian(STANDARD), jnp.float32(-3.0), np.random.RandomState(0)
    x, x_0 = (jnp.asarray(rng.normal(size=(1, DIMS)), jnp.float32) for _ in range(2))
    start = Encoded(x_0, None if log_std is None else jnp.full_like(x_0, log_std))
    eps = jnp.asarray(rng.normal(size=(100_000, DIMS)), jnp.float32)
    u = x_0 + jnp.exp(0.5 * gamma_0) * start.noise(eps)
    drawn = -decoder.log_likelihood(u, jnp.broadcast_to(x, u.shape), gamma_0)
    y, width = STANDARD.undo(np.asarray(x, np.float64)), np.exp(-1.5) * np.asarray(STANDARD.deviation)
    direct = -scipy.stats.norm.logpdf(y, STANDARD.undo(np.asarray(u[:1], np.float64)), width).sum()
    assert float(drawn[0]) == pytest.approx(direct, rel=1e-4)
    mean = float(decoder.reconstruction(start, x, gamma_0, eps[:1])[0])
    assert mean == pytest.approx(float(drawn.mean()), abs=5 * float(drawn.std()) / np.sqrt(len(eps)))


def test_draws_are_normal():
    share = (np.arange(1000)[:, None] + 0.5) / 1000
    drawn = Gaussian().draw(jnp.full((1000, 1), 2.0), jnp.float32(-2.0), jnp.asarray(share, jnp.float32))
    np.testing.assert_allclose(drawn, scipy.stats.norm.ppf(share, 2.0, np.exp(-1.0)), rtol=1e-4)
    zero = Gaussian().draw(jnp.zeros((1, 1)), jnp.float32(0.0), jnp.zeros((1, 1)))
    assert np.isfinite(zero).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_means_and_deviations(kind):
    data = (np.random.RandomState(0).normal(size=(9001, 2, 3)) * [1.0, 5.0, 1e-3] + [0.0, 1e4, 7.0]).astype(kind)
    standard = Standard.of(data)
    wide = data.astype(np.float64)
    np.testing.assert_allclose(standard.mean, wide.mean(axis=(0, 1)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(standard.deviation, wide.std(axis=(0, 1)), rtol=1e-9)
    np.testing.assert_allclose(standard.undo(standard.apply(wide)), wide, rtol=1e-12)
    assert standard.log_volume(6) == pytest.approx(2 * np.log(wide.std(axis=(0, 1))).sum())

"""The network of one gain per frequency: its transform against scipy's, its loss against the closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from diffenc_jax.diffusion.encoders import Unbounded
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.losses import errors_at
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.steps import Instant
from diffenc_jax.nets.dct import FrequencyGains, dct, dct_matrix, inverse_dct
from tests import tiny

LOW, HIGH = -13.3, 5.0
SHAPE = (2, 3, 2)
NET = FrequencyGains(8)
PIXELS = (1, 2)  # the axes of the transform


def theirs(x):
    return scipy.fft.dctn(x, axes=PIXELS, norm="ortho")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 8, 3), (1, 28, 28, 1)])
def test_the_transform_is_scipys(x64, shape):
    x = np.random.RandomState(0).normal(size=shape)
    np.testing.assert_allclose(dct(jnp.asarray(x)), theirs(x), atol=1e-12)
    np.testing.assert_allclose(inverse_dct(dct(jnp.asarray(x))), x, atol=1e-12)


def test_its_matrix_is_orthogonal():
    np.testing.assert_allclose(dct_matrix(7) @ dct_matrix(7).T, np.eye(7), atol=1e-14)


@pytest.fixture
def params(x64):
    return tiny.parameters(NET, jnp.zeros((1, *SHAPE)), jnp.zeros(1))


def test_every_frequency_has_its_gain_and_offset(params):
    """Gains and offsets are the same for every image, so the output is affine in it; they depend on the time."""
    time = jnp.asarray([0.1, 0.1, 0.1, 0.9])
    x = np.random.RandomState(1).normal(size=(4, *SHAPE))
    x[3] = x[2]
    apply = jax.jit(NET.apply)
    offsets = theirs(np.asarray(apply(params, jnp.zeros_like(x), time)))
    gains = (theirs(np.asarray(apply(params, jnp.asarray(x), time))) - offsets) / theirs(x)
    for images in (offsets, gains):
        np.testing.assert_allclose(images[:2], images[2:3].repeat(2, axis=0), rtol=1e-8)
        assert np.abs(images[3] - images[2]).min() > 1e-4
        assert len(np.unique(images[0].round(8))) == np.prod(SHAPE)


def test_the_loss_of_gaussian_images(params):
    """Σ_k ½ ∫ e^(-γ) λ_k (f_k - f_k')² σ² / (α² λ_k f_k² + σ²) dγ for frequencies of variance λ_k and exact denoisers.

    x_t = f_k(γ) x + g_k(γ), f = α² + σ² a and g = σ² b: the offsets, known to the model, cost nothing. The loss is
    quadratic in (x, ε), so its mean over the four sign pairs is its mean over Gaussians.
    """
    nodes, weights = np.polynomial.legendre.leggauss(40)
    gamma = jnp.asarray((HIGH + LOW + (HIGH - LOW) * nodes) / 2)
    weights = weights * (HIGH - LOW) / 2
    variance = np.random.RandomState(2).uniform(0.1, 2.0, SHAPE)
    network = lambda x, gamma: NET.apply(params, x, (gamma - LOW) / (HIGH - LOW))  # noqa: E731

    def of_frequencies(gamma):
        """f and g [N, H, W, C], from an image of zeros and an image of all frequencies."""
        alpha2, sigma2 = (align(jax.nn.sigmoid(sign * gamma), jnp.zeros((1, 1, 1, 1))) for sign in (-1, 1))
        zeros = jnp.zeros((len(gamma), *SHAPE))
        b = dct(network(zeros, gamma))
        a = dct(network(inverse_dct(zeros + 1.0), gamma)) - b
        return alpha2 + sigma2 * a, sigma2 * b

    (f, g), (df, dg) = jax.jit(lambda gamma: jax.jvp(of_frequencies, (gamma,), (jnp.ones_like(gamma),)))(gamma)
    a, s = (np.sqrt(np.asarray(jax.nn.sigmoid(sign * gamma)))[:, None, None, None] for sign in (-1, 1))
    marginal = a**2 * variance * f**2 + s**2
    exact = 0.5 * np.exp(-gamma) @ (weights[:, None] * (variance * (f - df) ** 2 * s**2 / marginal).reshape(40, -1))

    def predict(z, _):
        """v̂ of the model that predicts (x_t - dx_t/dγ) / (1 + σ²) by its conditional mean given z_t."""
        x_hat = variance * a * f * (f - df) / marginal * (dct(z) - a * g) + g - dg
        return Prediction((a * z - inverse_dct(x_hat / (1 + s**2))) / s)

    process = Process(Unbounded(network), predict, lambda t: LOW + (HIGH - LOW) * t)
    place = Instant(gamma, jnp.ones_like(gamma))

    @jax.jit
    def loss(x, eps):
        images, noise = (jnp.tile(inverse_dct(signs[None]), (len(gamma), 1, 1, 1)) for signs in (x, eps))
        return place.loss(errors_at(process, place, images, noise))

    deviations, ones = jnp.asarray(np.sqrt(variance)), jnp.ones(SHAPE)
    mean = sum(loss(x * deviations, eps * ones) for x in (-1.0, 1.0) for eps in (-1.0, 1.0)) / 4
    assert float(mean @ weights) == pytest.approx(float(np.sum(exact)), rel=1e-9)

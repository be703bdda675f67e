"""The bound in float32 at γ = ±20, and for 2 and 256 levels, against the textbook's forms in numpy's float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Encoded, Identity, NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from tests.diffusion.formulas import full_sum, process_of
from tests.registered import EXTRAPOLATIONS

B, DIMS, LEVELS = 4, 6, 256
RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, LEVELS, (B, DIMS)).astype(np.uint8)
X = 2 * (PIXELS + 0.5) / LEVELS - 1
EPS_0, EPS_T = RNG.normal(size=(2, B, DIMS))
TIMES = np.asarray([0.0, 0.3, 0.6, 0.999])
ENCODERS = {
    "identity": Identity(),
    "nontrainable": NonTrainable(),
    "trainable": Trainable(lambda x, gamma: jnp.sin(x + align(gamma, x))),
}


@pytest.fixture(autouse=True)
def _debug_nans():
    """Nothing on the way to a value or a gradient is NaN."""
    with jax.debug_nans(True):
        yield


def terms(ends, encoder, depth, extrapolation):
    """The package's, in float32, for v̂ = z_t + 0.3 cos z_t."""
    t = jnp.asarray(TIMES, jnp.float32)
    velocity, gamma = lambda z, _: z + 0.3 * jnp.cos(z), lambda t: ends[0] + (ends[1] - ends[0]) * t
    process = process_of(ENCODERS[encoder], velocity, EXTRAPOLATIONS[extrapolation], LEVELS, gamma)
    point = process.instant(t) if depth is None else process.uniform_steps(depth).at(t)
    noise = losses.Noise(t, *(jnp.asarray(eps, jnp.float32) for eps in (EPS_0, EPS_T)))
    return losses.bound_at(process, jnp.asarray(PIXELS), point, noise)


def encode(encoder, gamma):
    """x_t and dx_t/dγ."""
    alpha2, sigma2 = sigmoid(-gamma), sigmoid(gamma)
    if encoder == "identity":
        return X, 0.0 * X
    y, dy = (np.tanh(np.sin(X + gamma)), np.cos(X + gamma) / np.cosh(np.sin(X + gamma)) ** 2)
    if encoder == "nontrainable":
        y, dy = 0.0, 0.0
    return alpha2 * X + sigma2 * y, sigma2 * alpha2 * (y - X) + sigma2 * dy


def textbook(ends, encoder, depth, extrapolation):
    """Reconstruction, latent and diffusion, float64 [B] each, with differences where they stand in the papers."""
    low, high = ends
    span, drifts = high - low, encoder != "identity"
    x_0, x_1 = encode(encoder, low)[0], encode(encoder, high)[0]
    reconstruction = -full_sum(x_0 + np.exp(low / 2) * EPS_0, PIXELS, low, LEVELS)
    latent = 0.5 * (sigmoid(-high) * x_1**2 + (np.logaddexp(0, -high) - sigmoid(-high))).sum(1)
    t = TIMES if depth is None else (np.floor(TIMES * depth) + 1) / depth
    gamma = (low + span * t)[:, None]
    alpha, sigma = np.sqrt(sigmoid(-gamma)), np.sqrt(sigmoid(gamma))
    x_t, dx_t = encode(encoder, gamma)
    z = alpha * x_t + sigma * EPS_T
    x_hat = alpha * z - sigma * (z + 0.3 * np.cos(z))
    if depth is None:
        residual = x_t - dx_t - (1 + drifts * sigma**2) * x_hat
        return reconstruction, latent, 0.5 * span * (np.exp(-gamma) * residual**2).sum(1)
    gamma_s = gamma - span / depth
    c, rest = -np.expm1(gamma_s - gamma), np.exp(gamma_s - gamma)
    b = {"linear": c + (gamma - gamma_s) * sigma**2, "exponential": sigmoid(-gamma_s) / alpha**2 - rest}[extrapolation]
    residual = encode(encoder, gamma_s)[0] - rest * x_t - (b if drifts else c) * x_hat
    return reconstruction, latent, 0.5 * depth * (np.exp(-gamma_s) / c * residual**2).sum(1)


STEPS = [
    pytest.param("identity", None, "linear", marks=pytest.mark.slow),
    pytest.param("nontrainable", None, "linear", marks=pytest.mark.slow),
    ("trainable", None, "linear"),
    pytest.param("identity", 7, "linear", marks=pytest.mark.slow),
    ("trainable", 1, "exponential"),
    ("trainable", 1000, "linear"),
]


@pytest.mark.parametrize(("encoder", "depth", "extrapolation"), STEPS)
def test_values_and_slopes_at_extreme_noise(encoder, depth, extrapolation):
    """γ from -20 to 20; slopes by both ends, which a schedule may learn."""
    ends, settings = (-20.0, 20.0), (encoder, depth, extrapolation)
    given = tuple(np.float32(end) for end in ends)
    total = lambda *ends: terms(ends, *settings).diffusion.sum()  # noqa: E731
    values = jax.jit(lambda *ends: (terms(ends, *settings), jax.grad(total, (0, 1))(*ends)))
    ours, slopes = jax.tree.map(np.asarray, values(*given))
    reconstruction, latent, diffusion = textbook(ends, *settings)
    np.testing.assert_allclose(ours.reconstruction, reconstruction, atol=1e-6)
    np.testing.assert_allclose(ours.latent, latent, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(ours.diffusion, diffusion, rtol=2e-4)
    step = 1e-4
    for i, slope in enumerate(slopes):
        up, down = (tuple(e + sign * step * (j == i) for j, e in enumerate(ends)) for sign in (1, -1))
        numeric = (textbook(up, *settings)[2].sum() - textbook(down, *settings)[2].sum()) / (2 * step)
        assert float(slope) == pytest.approx(numeric, rel=2e-3, abs=1e-3 * float(diffusion.sum()))


reconstruction = jax.jit(Levels.reconstruction, static_argnums=0)


@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("gamma_0", [-20.0, None, 5.0, 20.0])
def test_reconstruction_in_float32(levels, gamma_0):
    """None: as published, 0.166 of a bin. Against the sum over all bins; the slope by γ_0 too."""
    gamma_0 = 2 * np.log(0.166 * 2 / levels) if gamma_0 is None else gamma_0
    pixels = np.random.RandomState(1).randint(0, levels, (3, 40)).astype(np.uint8)
    x, eps = 2 * (pixels + 0.5) / levels - 1, np.random.RandomState(2).normal(size=pixels.shape)

    def exact(gamma_0):
        return -full_sum(x + np.exp(gamma_0 / 2) * eps, pixels, gamma_0, levels)

    def ours(gamma_0):
        return reconstruction(Levels(levels), Encoded(np.float32(x)), pixels, gamma_0, np.float32(eps))

    got, slope = jax.jvp(ours, (np.float32(gamma_0),), (np.float32(1.0),))
    np.testing.assert_allclose(got, exact(gamma_0), rtol=2e-3, atol=1e-6)
    numeric = (exact(gamma_0 + 1e-4) - exact(gamma_0 - 1e-4)) / 2e-4
    np.testing.assert_allclose(slope, numeric, rtol=5e-3, atol=1e-3)

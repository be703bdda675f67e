"""Processes made of formulas, and the likelihood of pixels by its full sum."""

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.gaussian import align, alpha, sigma, velocity_from_image
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.reverse import linear
from diffenc_jax.diffusion.schedules import FixedLinear

GAMMA_0, GAMMA_1 = -13.3, 5.0


def schedule(t):
    return FixedLinear(GAMMA_0, GAMMA_1).apply({}, t)


def process_of(encoder, velocity, extrapolation=linear, pixel_levels=256, gamma=schedule):
    """A process whose score network is velocity(z, γ)."""
    predict = lambda z, gamma: Prediction(velocity(z, gamma))  # noqa: E731
    return Process(encoder, predict, gamma, extrapolation, Levels(pixel_levels))


def diffusion_loss(process, point, x, eps):
    """The diffusion loss [B] at a point of the path, by the functions that `bound_at` calls."""
    return point.loss(losses.errors_at(process, point, x, eps))


def exact_velocity(factor):
    """v̂ from E[x_t | z_t] for data N(0, 1) and x_t = factor(γ) x."""

    def velocity(z, gamma):
        a, s = jnp.sqrt(jax.nn.sigmoid(-gamma)), jnp.sqrt(jax.nn.sigmoid(gamma))
        f = factor(gamma)
        x_hat = align(f * a * f / (jnp.square(a * f) + jnp.square(s)), z) * z
        return (align(a, z) * z - x_hat) / align(s, z)

    return velocity


def exact_denoiser(covariance):
    """v̂ from E[x | z_t] for x ~ N(0, covariance), with one γ for all dimensions or one for each."""

    def predict(z, gamma):
        levels, matrix = jnp.broadcast_to(align(gamma, z), z.shape), jnp.asarray(covariance, z.dtype)

        def image(z, a, s):
            return matrix @ (a * jnp.linalg.solve(a[:, None] * matrix * a + jnp.diag(s**2), z))

        return Prediction(velocity_from_image(z, jax.vmap(image)(z, alpha(levels), sigma(levels)), gamma))

    return predict


def in_both_precisions(compute, *arrays):
    """Results of `compute` in float32 and in float64."""
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            yield np.asarray(jax.jit(compute)(*(np.asarray(array, dtype) for array in arrays)))


def full_sum(u, pixels, gamma_0, levels):
    """-½ (u - x_k)² e^(-γ_0), normalised over all k, at k = pixels; numpy, float64."""
    values = 2 * (np.arange(levels) + 0.5) / levels - 1
    logits = -0.5 * (np.asarray(u, np.float64)[..., None] - values) ** 2 * np.exp(-gamma_0)
    top = logits.max(-1, keepdims=True)
    log_probability = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    return np.take_along_axis(log_probability, pixels[..., None].astype(int), -1)[..., 0].sum(-1)

"""The bound -log p(x) <= reconstruction + latent + diffusion, in nats an example (arXiv 2310.19789; arXiv 2107.00630).

Networks come in as callables: `encoder` (see encoders.py) and `predict_v(z_t, γ) -> v̂`. The place on
the path is an `Instant` at infinite depth, a `Step` at finite depth (see steps.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.gaussian import align, alpha, diffuse, image_from_velocity, sigma, sum_dims
from diffenc_jax.diffusion.steps import Extrapolation, Instant, Step

PredictV = Callable[[Float[Array, "b *d"], Float[Array, " b"]], Float[Array, "b *d"]]
# (z_t, γ) -> v̂ and ŝ, an estimate of the slope (dx_t/dγ) / σ_t².
PredictBoth = Callable[[Float[Array, "b *d"], Float[Array, " b"]], tuple[Float[Array, "b *d"], Float[Array, "b *d"]]]


class Noise(NamedTuple):
    """All that is random in one evaluation of the bound; t in [0, 1) is the time, or says which step."""

    t: Float[Array, " b"]
    eps_0: Float[Array, "b *d"]
    eps_t: Float[Array, "b *d"]


class Terms(NamedTuple):
    """The bound by term, nats an example."""

    reconstruction: Float[Array, " b"]
    latent: Float[Array, " b"]
    diffusion: Float[Array, " b"]

    @property
    def total(self) -> Float[Array, " b"]:
        return self.reconstruction + self.latent + self.diffusion


def bound(
    encoder: Encoder,
    predict_v: PredictV,
    ends: tuple[Float[Array, ""], Float[Array, ""]],
    extrapolation: Extrapolation,
    pixels: UInt8[Array, "b *d"],
    levels: int,
    at: Instant | Step,
    noise: Noise,
) -> Terms:
    """One unbiased estimate of the bound, an example: at infinite depth where `at` is an instant.

    The encoder is called once for both end points together, which are `ends` = (γ_0, γ_1), and
    once more for the diffusion term.
    """
    x = decoder.pixel_values(pixels, levels)
    if isinstance(at, Instant):
        term = continuous(encoder, predict_v, x, at, noise.eps_t)
    else:
        term = discrete(encoder, predict_v, extrapolation, x, at, noise.eps_t)
    return _with_ends(encoder, ends, x, pixels, levels, noise.eps_0, term)


def bound_and_derivative(
    encoder: Encoder,
    predict_both: PredictBoth,
    ends: tuple[Float[Array, ""], Float[Array, ""]],
    extrapolation: Extrapolation,
    pixels: UInt8[Array, "b *d"],
    levels: int,
    at: Instant | Step,
    noise: Noise,
) -> tuple[Terms, Float[Array, " b"]]:
    """`bound`, and ‖slope - ŝ‖² [B], whose minimum is ŝ = E[slope | z_t], from one pass of the score network.

    The slope (dx_t/dγ) / σ_t² is a target: no gradient goes through it. At finite depth the bound has no use for
    it, and the encoder is called once more.
    """
    x = decoder.pixel_values(pixels, levels)
    if isinstance(at, Instant):
        x_t, drift = encoder.mean_and_slope(x, at.gamma_t)
        slope = drift
    else:
        x_t, drift = encoder.mean_and_quotient(x, at.gamma_s, at.gamma_t)
        slope = encoder.mean_and_slope(x, at.gamma_t).drift
    z_t, v = diffuse(x_t, at.gamma_t, noise.eps_t)
    v_hat, slope_hat = predict_both(z_t, at.gamma_t)
    wrong, x_hat = v - v_hat, image_from_velocity(z_t, v_hat, at.gamma_t)
    if isinstance(at, Instant):
        term = continuous_from(wrong, _residual(x_hat, drift, float(encoder.drifts), at.gamma_t), at)
    else:
        deviation = step_deviation_from(wrong, x_hat, drift, extrapolation, at.gamma_s, at.gamma_t)
        term = _discrete_from(jnp.square(deviation), at)
    terms = _with_ends(encoder, ends, x, pixels, levels, noise.eps_0, term)
    return terms, sum_dims(jnp.square(jax.lax.stop_gradient(slope) - slope_hat))


def _with_ends(encoder, ends, x, pixels, levels, eps_0, diffusion) -> Terms:
    """The bound's terms at both end points, to the one between them."""
    gamma_0, gamma_1 = ends
    x_0, x_1 = jnp.split(encoder.mean(jnp.concatenate([x, x]), jnp.repeat(jnp.stack(ends), x.shape[0])), 2)
    return Terms(
        reconstruction=reconstruction(x_0, pixels, gamma_0, levels, eps_0),
        latent=latent(x_1, gamma_1),
        diffusion=diffusion,
    )


def reconstruction(
    x_0: Float[Array, "b *d"],
    pixels: UInt8[Array, "b *d"],
    gamma_0: Float[Array, ""],
    levels: int,
    eps: Float[Array, "b *d"],
) -> Float[Array, " b"]:
    """-log p(pixels | z_0) with z_0 / α_0 = x_0 + e^(γ_0/2) ε."""
    return -decoder.log_likelihood(x_0 + jnp.exp(0.5 * gamma_0) * eps, pixels, gamma_0, levels)


def latent(x_1: Float[Array, "b *d"], gamma_1: Float[Array, ""]) -> Float[Array, " b"]:
    """KL(q(z_1 | x) || N(0, I)) = ½ Σ [α_1² x_1² + σ_1² - ln σ_1² - 1].

    Summed as ½ Σ [α_1² x_1² - α_1² + softplus(-γ_1)], since σ² - 1 = -α² and -ln σ² =
    softplus(-γ): the first form loses its digits where α_1² is small.
    """
    alpha2 = jax.nn.sigmoid(-gamma_1)
    return 0.5 * sum_dims(alpha2 * jnp.square(x_1) - alpha2 + jax.nn.softplus(-gamma_1))


def continuous(
    encoder: Encoder, predict_v: PredictV, x: Float[Array, "b *d"], at: Instant, eps: Float[Array, "b *d"]
) -> Float[Array, " b"]:
    """The diffusion loss at infinite depth; its mean over t ~ U(0, 1) is the bound's term.

    ½ γ'(t) e^(-γ_t) ‖x_t - dx_t/dγ - (1 + k σ_t²) x̂‖², where k = 0 for the identity and 1 for an
    encoder that drifts. With x_t - x̂ = -σ_t (v_t - v̂) and dx_t/dγ = σ_t² slope it is computed as

      ½ γ'(t) α_t² ‖v_t - v̂ + σ_t (slope + k x̂)‖²,

    which divides by nothing small at either end.
    """
    return continuous_from(*continuous_errors(encoder, predict_v, x, at.gamma_t, eps), at)


def continuous_errors(
    encoder: Encoder,
    predict_v: PredictV,
    x: Float[Array, "b *d"],
    gamma_t: Float[Array, " b"],
    eps: Float[Array, "b *d"],
) -> tuple[Float[Array, "b *d"], Float[Array, "b *d"]]:
    """v_t - v̂ and σ_t (slope + k x̂), the two parts of the error in `continuous`."""
    x_t, slope = encoder.mean_and_slope(x, gamma_t)
    wrong, x_hat = estimate(predict_v, x_t, gamma_t, eps)
    return wrong, _residual(x_hat, slope, float(encoder.drifts), gamma_t)


def continuous_from(wrong: Float[Array, "b *d"], residual: Float[Array, "b *d"], at: Instant) -> Float[Array, " b"]:
    """`continuous` from its `continuous_errors`."""
    return 0.5 * at.dgamma * jax.nn.sigmoid(-at.gamma_t) * sum_dims(jnp.square(wrong + residual))


def discrete(
    encoder: Encoder,
    predict_v: PredictV,
    extrapolation: Extrapolation,
    x: Float[Array, "b *d"],
    at: Step,
    eps: Float[Array, "b *d"],
) -> Float[Array, " b"]:
    """The diffusion loss at depth T, of which one step is drawn; its mean over steps is the bound's term.

    T times a step's KL(q(z_s | z_t, x) ‖ p(z_s | z_t)) = ½ Σ [w - 1 - ln w + w u] over the
    dimensions, with w the step's variance ratio and u its `step_error`.
    """
    return _discrete_from(step_error(encoder, predict_v, extrapolation, x, at, eps), at)


def _discrete_from(u, at):
    w = jnp.broadcast_to(at.ratio, u.shape)
    return 0.5 * at.depth * sum_dims(w - 1.0 - jnp.log(w) + w * u)


def step_error(
    encoder: Encoder,
    predict_v: PredictV,
    extrapolation: Extrapolation,
    x: Float[Array, "b *d"],
    at: Step,
    eps: Float[Array, "b *d"],
) -> Float[Array, "b *d"]:
    """(μ_Q - μ_P)² / σ_Q² of a step from t to s, dimension by dimension.

    The square of `step_deviation`.
    """
    return jnp.square(step_deviation(encoder, predict_v, extrapolation, x, at, eps))


def step_deviation(
    encoder: Encoder,
    predict_v: PredictV,
    extrapolation: Extrapolation,
    x: Float[Array, "b *d"],
    at: Step,
    eps: Float[Array, "b *d"],
) -> Float[Array, "b *d"]:
    """(μ_Q - μ_P) / σ_Q of a step from t to s at z_t = α_t x_t + σ_t ε, dimension by dimension.

    (e^(-γ_s/2) / √c) r with r = x_s - e^(γ_s - γ_t) x_t - b x̂ (see steps.py). With
    x_t - x_s = c σ_t² quotient and b = c (1 + k σ_t²) it is computed as

      -√(e^(γ_t - γ_s) - 1) α_t (v_t - v̂ + σ_t (quotient + k x̂)),

    whose digits do not cancel, however short the step.
    """
    x_t, quotient = encoder.mean_and_quotient(x, at.gamma_s, at.gamma_t)
    wrong, x_hat = estimate(predict_v, x_t, at.gamma_t, eps)
    return step_deviation_from(wrong, x_hat, quotient, extrapolation, at.gamma_s, at.gamma_t)


def step_deviation_from(
    wrong: Float[Array, "b *d"],
    x_hat: Float[Array, "b *d"],
    quotient: Float[Array, "b *d"],
    extrapolation: Extrapolation,
    gamma_s: Float[Array, " b"],
    gamma_t: Float[Array, " b"],
) -> Float[Array, "b *d"]:
    """`step_deviation` from what the networks gave at t: `estimate`, and the encoder's difference quotient."""
    k = align(extrapolation(gamma_s, gamma_t), x_hat)
    scale = align(jnp.sqrt(jnp.expm1(gamma_t - gamma_s)) * alpha(gamma_t), x_hat)
    return -scale * (wrong + _residual(x_hat, quotient, k, gamma_t))


def estimate(
    predict_v: PredictV, x_t: Float[Array, "b *d"], gamma_t: Float[Array, " b"], eps: Float[Array, "b *d"]
) -> tuple[Float[Array, "b *d"], Float[Array, "b *d"]]:
    """v_t - v̂ and x̂ at z_t = α_t x_t + σ_t ε."""
    z_t, v = diffuse(x_t, gamma_t, eps)
    v_hat = predict_v(z_t, gamma_t)
    return v - v_hat, image_from_velocity(z_t, v_hat, gamma_t)


def _residual(x_hat, drift, k, gamma_t):
    """σ_t (drift + k x̂): what the model misses of the encoder's drift."""
    return align(sigma(gamma_t), x_hat) * (drift + k * x_hat)

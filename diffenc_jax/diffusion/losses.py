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
from diffenc_jax.diffusion.encoders import Encoder, Encoding
from diffenc_jax.diffusion.gaussian import align, alpha, diffuse, image_from_velocity, sigma, sum_dims
from diffenc_jax.diffusion.steps import Extrapolation, Instant, Step

PredictV = Callable[[Float[Array, "b *d"], Float[Array, " b"]], Float[Array, "b *d"]]
# (z_t, γ) -> v̂ and ŝ, an estimate of the slope (dx_t/dγ) / σ_t².
PredictBoth = Callable[[Float[Array, "b *d"], Float[Array, " b"]], tuple[Float[Array, "b *d"], Float[Array, "b *d"]]]


class Noise(NamedTuple):
    """All that is random in one evaluation of the bound; t in [0, 1) is the time, or says which step.

    eps_0 is for the images whose end points are looked at: all, or E of them.
    """

    t: Float[Array, " b"]
    eps_0: Float[Array, "e *d"]
    eps_t: Float[Array, "b *d"]


class Terms(NamedTuple):
    """The bound by term, nats an example; the two at the end points may be those of fewer images."""

    reconstruction: Float[Array, "*e"]
    latent: Float[Array, "*e"]
    diffusion: Float[Array, "*b"]

    @property
    def total(self) -> Float[Array, "*b"]:
        return self.reconstruction + self.latent + self.diffusion

    def weighted(self, weight: Float[Array, "*b"]) -> "Terms":
        """With the diffusion terms times `weight`, for times that are not uniform."""
        return self._replace(diffusion=weight * self.diffusion)

    def means(self) -> "Terms":
        """Each term's mean, []."""
        return Terms(*(term.mean() for term in self))


def bound(
    encoder: Encoder,
    predict_v: PredictV,
    ends: tuple[Float[Array, ""], Float[Array, ""]],
    extrapolation: Extrapolation,
    pixels: UInt8[Array, "b *d"],
    levels: int,
    at: Instant | Step,
    noise: Noise,
    at_ends: UInt8[Array, "e *d"] | None = None,
) -> Terms:
    """One unbiased estimate of the bound, an example: at infinite depth where `at` is an instant.

    `ends` = (γ_0, γ_1). `at_ends`: the images whose end points are looked at, a divisor of their number; all by
    default.
    """
    predict = lambda z_t, gamma_t: (predict_v(z_t, gamma_t), None)  # noqa: E731
    return _bound(encoder, predict, ends, extrapolation, pixels, levels, at, noise, at_ends)[0]


def bound_and_derivative(
    encoder: Encoder,
    predict_both: PredictBoth,
    ends: tuple[Float[Array, ""], Float[Array, ""]],
    extrapolation: Extrapolation,
    pixels: UInt8[Array, "b *d"],
    levels: int,
    at: Instant | Step,
    noise: Noise,
    at_ends: UInt8[Array, "e *d"] | None = None,
) -> tuple[Terms, Float[Array, " b"]]:
    """`bound`, and ‖slope - ŝ‖² [B], whose minimum is ŝ = E[slope | z_t], from one pass of the score network.

    The slope (dx_t/dγ) / σ_t² is a target: no gradient goes through it. At finite depth the bound has no use for
    it, and the encoder is called once more.
    """
    terms, slope_hat, slope = _bound(encoder, predict_both, ends, extrapolation, pixels, levels, at, noise, at_ends)
    if not isinstance(at, Instant):
        slope = encoder.mean_and_slope(decoder.pixel_values(pixels, levels), at.gamma_t).drift
    return terms, sum_dims(jnp.square(jax.lax.stop_gradient(slope) - slope_hat))


def _bound(encoder, predict, ends, extrapolation, pixels, levels, at, noise, at_ends):
    """The terms, what `predict` gives besides v̂, and the encoder's drift."""
    x = decoder.pixel_values(pixels, levels)
    (x_t, drift), x_0, x_1 = _encode(encoder, x, at, ends, at_ends, levels)
    z_t, v = diffuse(x_t, at.gamma_t, noise.eps_t)
    v_hat, besides = predict(z_t, at.gamma_t)
    wrong, x_hat = v - v_hat, image_from_velocity(z_t, v_hat, at.gamma_t)
    if isinstance(at, Instant):
        diffusion = continuous_from(wrong, _residual(x_hat, drift, float(encoder.drifts), at.gamma_t), at)
    else:
        deviation = step_deviation_from(wrong, x_hat, drift, extrapolation, at.gamma_s, at.gamma_t)
        diffusion = _discrete_from(jnp.square(deviation), at)
    gamma_0, gamma_1 = ends
    of_ends = pixels if at_ends is None else at_ends
    terms = Terms(reconstruction(x_0, of_ends, gamma_0, levels, noise.eps_0), latent(x_1, gamma_1), diffusion)
    return terms, besides, drift


def _encode(encoder, x, at, ends, at_ends, levels):
    """x_t and its drift, [B, ...], and x_0 and x_1 of the images whose end points are looked at, [E, ...].

    For fewer than all, the encoder is called once for all places, so that it is compiled once: B/E rows of x, then x_0
    and x_1 of an image, and so on. A batch that is divided over devices in blocks stays so.
    """
    if at_ends is None:
        x_0, x_1 = jnp.split(encoder.mean(jnp.concatenate([x, x]), jnp.repeat(jnp.stack(ends), len(x))), 2)
        return _encode_at(encoder, x, at), x_0, x_1

    def join(rows, of_ends_0, of_ends_1):
        rows = rows.reshape(len(at_ends), -1, *rows.shape[1:])
        joined = jnp.concatenate([rows, of_ends_0[:, None], of_ends_1[:, None]], axis=1)
        return joined.reshape(-1, *joined.shape[2:])

    def part(joined):
        joined = joined.reshape(len(at_ends), -1, *joined.shape[1:])
        return joined[:, :-2].reshape(x.shape), joined[:, -2], joined[:, -1]

    ends = [jnp.full(len(at_ends), gamma) for gamma in ends]
    at = at._replace(gamma_t=join(at.gamma_t, *ends))
    if isinstance(at, Step):
        at = at._replace(gamma_s=join(at.gamma_s, *(gamma - 1.0 for gamma in ends)))  # of any steps that end there
    x_ends = decoder.pixel_values(at_ends, levels)
    (x_t, x_0, x_1), (drift, *_) = map(part, _encode_at(encoder, join(x, x_ends, x_ends), at))
    return Encoding(x_t, drift), x_0, x_1


def _encode_at(encoder, x, at):
    if isinstance(at, Instant):
        return encoder.mean_and_slope(x, at.gamma_t)
    return encoder.mean_and_quotient(x, at.gamma_s, at.gamma_t)


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

"""The bound -log p(x) <= reconstruction + latent + diffusion, in nats an example (arXiv 2310.19789; arXiv 2107.00630).

Networks come in as callables: `encoder` (see encoders.py), `predict_v(z_t, γ) -> v̂` and
`schedule(t) -> γ`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.gaussian import align, diffuse, image_from_velocity, sigma, sum_dims

PredictV = Callable[[Float[Array, "b *d"], Float[Array, " b"]], Float[Array, "b *d"]]
Schedule = Callable[[Float[Array, "*b"]], Float[Array, "*b"]]


class Noise(NamedTuple):
    """All that is random in one evaluation of the bound."""

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
    schedule: Schedule,
    pixels: UInt8[Array, "b *d"],
    levels: int,
    noise: Noise,
) -> Terms:
    """One unbiased estimate of the bound at infinite depth, an example.

    The encoder is called twice: once for both end points together, once at t with its slope.
    """
    x = decoder.pixel_values(pixels, levels)
    gamma_0, gamma_1 = schedule(jnp.zeros(())), schedule(jnp.ones(()))
    ends = jnp.repeat(jnp.stack([gamma_0, gamma_1]), x.shape[0])
    x_0, x_1 = jnp.split(encoder.mean(jnp.concatenate([x, x]), ends), 2)
    return Terms(
        reconstruction=reconstruction(x_0, pixels, gamma_0, levels, noise.eps_0),
        latent=latent(x_1, gamma_1),
        diffusion=diffusion(encoder, predict_v, schedule, x, noise.t, noise.eps_t),
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


def diffusion(
    encoder: Encoder,
    predict_v: PredictV,
    schedule: Schedule,
    x: Float[Array, "b *d"],
    t: Float[Array, " b"],
    eps: Float[Array, "b *d"],
) -> Float[Array, " b"]:
    """The continuous-time loss at t; its mean over t ~ U(0, 1) is the bound's term.

    ½ γ'(t) e^(-γ_t) ‖x_t - dx_t/dγ - (1 + k σ_t²) x̂‖², where k = 0 for the identity and 1 for an
    encoder (`Encoder.compensation`). With x_t - x̂ = -σ_t (v_t - v̂) and
    dx_t/dγ = σ_t² slope it is computed as

      ½ γ'(t) α_t² ‖v_t - v̂ + σ_t (slope + k x̂)‖²,

    which divides by nothing small at either end.
    """
    gamma, dgamma = jax.jvp(schedule, (t,), (jnp.ones_like(t),))
    x_t, slope = encoder.mean_and_slope(x, gamma)
    z_t, v = diffuse(x_t, gamma, eps)
    v_hat = predict_v(z_t, gamma)
    x_hat = image_from_velocity(z_t, v_hat, gamma)
    error = v - v_hat + align(sigma(gamma), x) * (slope + encoder.compensation * x_hat)
    return 0.5 * dgamma * jax.nn.sigmoid(-gamma) * sum_dims(jnp.square(error))

"""Dequantisation: real numbers within the bins of pixels, for the likelihood of a flow (arXiv 1509.00519)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffenc_jax.diffusion.arrays import AnyShape, Images, PerExample, Scalar
from diffenc_jax.diffusion.gaussian import alpha, sigma, sum_dims


class Dequantised(NamedTuple):
    """A draw x̃ ~ q(x̃ | pixels) within the pixels' bins, placed on the flow's path: z_0 = α_0 x̃.

    With p(x̃) = α_0^d p(z_0), P(pixels) = ∫ p(x̃) dx̃ over the bins is E p(x̃) / q(x̃) = E p(z_0) / q(z_0), so that

      -log P(pixels) <= E[-log p(z_0)] + nats,   nats = E ln q(z_0) = -entropy of z_0,
      -log P(pixels) <= -E ln[1/k Σ_j p(z_0j) / q(z_0j)] for k draws (arXiv 1509.00519; arXiv 2305.03935),

    and the second right side falls with k from the first one towards -log P. It needs log p(z_0) itself: the
    exponential of an unbiased estimate of log p is above p on average (Jensen's inequality), so that the weights of
    `hutchinson` are too large on average, and their right side need not be a bound.

    Attributes:
      z_0: [B, ...].
      nats: [] the mean of `log_density`.
      log_density: [B] ln q(z_0).
    """

    z_0: Images
    nats: Scalar
    log_density: PerExample


def uniform(x: Images, pixel_levels: int, gamma_0: Scalar, u: Images) -> Dequantised:
    """Dequantisation by x̃ uniform on the pixel's bin."""
    z_0 = alpha(gamma_0) * (x + 2.0 / pixel_levels * (u - 0.5))
    # The density of z_0 is constant over a bin, whose width is 2 α_0 / V in each dimension.
    nats = -x[0].size * (0.5 * jax.nn.log_sigmoid(-gamma_0) + math.log(2.0 / pixel_levels))
    return Dequantised(z_0, nats, jnp.broadcast_to(nats, len(x)))


def truncated_normal(x: Images, pixel_levels: int, gamma_0: Scalar, u: Images) -> Dequantised:
    """Dequantisation by z_0 = α_0 x + σ_0 ε, ε normal within ±τ = ±e^(-γ_0/2) / V, half a bin (arXiv 2305.03935).

    Up to the tails this is the distribution that the model was trained on at γ_0. Per dimension
    ln q(z_0) = -½ ε² - ½ ln 2π - ln Z - ln σ_0 with Z = erf(τ/√2).
    """
    tau = jnp.exp(-0.5 * gamma_0) / pixel_levels
    # From the middle outwards: the distribution function would lose its digits in the upper tail.
    inside = jax.scipy.special.erf(tau / math.sqrt(2.0))
    eps = jnp.clip(math.sqrt(2.0) * jax.scipy.special.erfinv((2.0 * u - 1.0) * inside), -tau, tau)
    log_sigma, dims = 0.5 * jax.nn.log_sigmoid(gamma_0), x[0].size
    log_normaliser = 0.5 * math.log(2.0 * math.pi) + jnp.log(inside) + log_sigma
    log_density = -0.5 * sum_dims(jnp.square(eps)) - dims * log_normaliser
    z_0, nats = alpha(gamma_0) * x + sigma(gamma_0) * eps, -dims * (log_sigma + truncated_entropy(tau))
    return Dequantised(z_0, nats, log_density)


def truncated_entropy(tau: AnyShape) -> AnyShape:
    """Entropy in nats of a standard normal within ±τ: ½ ln(2πe) + ln Z - τ φ(τ) / Z with Z = erf(τ/√2).

    It is ½ ln(2πe) - 0.01522 at the published γ_0 = -13.3 and V = 256 (arXiv 2305.03935), and ln 2τ at small τ.
    """
    inside = jax.scipy.special.erf(tau / math.sqrt(2.0))
    density = jnp.exp(-0.5 * jnp.square(tau)) / math.sqrt(2.0 * math.pi)
    return 0.5 * math.log(2.0 * math.pi * math.e) + jnp.log(inside) - tau * density / inside


# (x, the centres of the pixels' bins [B, ...], V, γ_0, u ~ U(0, 1) [B, ...]) -> a draw within the bins.
DEQUANTISATIONS = {"uniform": uniform, "truncated_normal": truncated_normal}

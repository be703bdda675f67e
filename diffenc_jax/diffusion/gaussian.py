"""The variance-preserving Gaussian path q(z_t | x) = N(α_t x_t, σ_t² I), written in γ = -log SNR.

The functions `velocity_from_...` are what a score network may estimate: (z_t, the estimate, γ [B]) -> v̂.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffenc_jax.diffusion.arrays import AnyShape, Gammas, Images, PerExample


def alpha(gamma: AnyShape) -> AnyShape:
    """α = sqrt(sigmoid(-γ))."""
    return jnp.sqrt(jax.nn.sigmoid(-gamma))


def sigma(gamma: AnyShape) -> AnyShape:
    """σ = sqrt(sigmoid(γ))."""
    return jnp.sqrt(jax.nn.sigmoid(gamma))


def align(scalar: AnyShape, x: Images) -> Float[Array, "..."]:
    """`scalar` [B] or [] as [B, 1, ..], so that it multiplies x example by example; axes that it has stay."""
    return scalar.reshape(scalar.shape + (1,) * (x.ndim - scalar.ndim))


def sum_dims(x: Images, weight: Gammas | None = None) -> PerExample:
    """Sum over all axes but the first, weighted by `weight` per example or dimension: nats per example."""
    if weight is not None and weight.ndim > 1:
        x, weight = weight * x, None
    total = jnp.sum(x, axis=tuple(range(1, x.ndim)))
    return total if weight is None else weight * total


def each_dim(x: Images, weight: Gammas | None = None) -> Images:
    """The summands of `sum_dims`: nats per example and dimension."""
    return x if weight is None else align(weight, x) * x


def diffuse(x_t: Images, gamma: Gammas, eps: Images) -> tuple[Images, Images]:
    """z_t = α_t x_t + σ_t ε and its velocity v_t = α_t ε - σ_t x_t."""
    a, s = align(alpha(gamma), x_t), align(sigma(gamma), x_t)
    return a * x_t + s * eps, a * eps - s * x_t


def image_from_velocity(z_t: Images, v: Images, gamma: Gammas) -> Images:
    """x̂ = α_t z_t - σ_t v̂, an estimate of x_t."""
    return align(alpha(gamma), z_t) * z_t - align(sigma(gamma), z_t) * v


def velocity_from_velocity(z_t: Images, v: Images, gamma: Gammas) -> Images:
    """v̂ itself, as DiffEnc predicts it (arXiv 2310.19789)."""
    return v


def velocity_from_noise(z_t: Images, eps: Images, gamma: Gammas) -> Images:
    """v̂ = (ε̂ - σ_t z_t) / α_t, as VDM predicts ε (arXiv 2107.00630, section 3.4), so that x̂ = (z_t - σ_t ε̂) / α_t.

    Since v_t - v̂ = (ε - ε̂) / α_t, the diffusion loss of the identity is ½ γ' ‖ε - ε̂‖².
    """
    return (eps - align(sigma(gamma), z_t) * z_t) / align(alpha(gamma), z_t)


def velocity_from_image(z_t: Images, x: Images, gamma: Gammas) -> Images:
    """v̂ = (α_t z_t - x̂) / σ_t, `image_from_velocity` solved for v̂.

    Since v_t - v̂ = (x̂ - x_t) / σ_t, the diffusion loss of the identity is ½ γ' e^(-γ_t) ‖x - x̂‖².
    """
    return (align(alpha(gamma), z_t) * z_t - x) / align(sigma(gamma), z_t)

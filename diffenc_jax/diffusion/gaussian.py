"""The variance-preserving Gaussian path q(z_t | x) = N(α_t x_t, σ_t² I), written in γ = -log SNR."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def alpha(gamma: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """α = sqrt(sigmoid(-γ))."""
    return jnp.sqrt(jax.nn.sigmoid(-gamma))


def sigma(gamma: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """σ = sqrt(sigmoid(γ))."""
    return jnp.sqrt(jax.nn.sigmoid(gamma))


def align(scalar: Float[Array, "*b"], x: Float[Array, "b *d"]) -> Float[Array, "..."]:
    """[B] or [] -> [B, 1, ..], so that it multiplies x example by example."""
    return scalar.reshape(scalar.shape + (1,) * (x.ndim - scalar.ndim))


def sum_dims(x: Float[Array, "b *d"]) -> Float[Array, " b"]:
    """Sums everything but the leading axis: nats a dimension -> nats an example."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


def diffuse(
    x_t: Float[Array, "b *d"], gamma: Float[Array, " b"], eps: Float[Array, "b *d"]
) -> tuple[Float[Array, "b *d"], Float[Array, "b *d"]]:
    """z_t = α_t x_t + σ_t ε and its velocity v_t = α_t ε - σ_t x_t."""
    a, s = align(alpha(gamma), x_t), align(sigma(gamma), x_t)
    return a * x_t + s * eps, a * eps - s * x_t


def image_from_velocity(
    z_t: Float[Array, "b *d"], v: Float[Array, "b *d"], gamma: Float[Array, " b"]
) -> Float[Array, "b *d"]:
    """x̂ = α_t z_t - σ_t v̂, an estimate of x_t."""
    return align(alpha(gamma), z_t) * z_t - align(sigma(gamma), z_t) * v


def velocity_from_velocity(
    z_t: Float[Array, "b *d"], v: Float[Array, "b *d"], gamma: Float[Array, " b"]
) -> Float[Array, "b *d"]:
    """v̂ itself, as DiffEnc predicts it (arXiv 2310.19789)."""
    return v


def velocity_from_noise(
    z_t: Float[Array, "b *d"], eps: Float[Array, "b *d"], gamma: Float[Array, " b"]
) -> Float[Array, "b *d"]:
    """v̂ = (ε̂ - σ_t z_t) / α_t, as VDM predicts ε (arXiv 2107.00630, section 3.4), so that x̂ = (z_t - σ_t ε̂) / α_t.

    Since v_t - v̂ = (ε - ε̂) / α_t, the diffusion loss of the identity is ½ γ' ‖ε - ε̂‖².
    """
    return (eps - align(sigma(gamma), z_t) * z_t) / align(alpha(gamma), z_t)


def velocity_from_image(
    z_t: Float[Array, "b *d"], x: Float[Array, "b *d"], gamma: Float[Array, " b"]
) -> Float[Array, "b *d"]:
    """v̂ = (α_t z_t - x̂) / σ_t, `image_from_velocity` solved for v̂.

    Since v_t - v̂ = (x̂ - x_t) / σ_t, the diffusion loss of the identity is ½ γ' e^(-γ_t) ‖x - x̂‖².
    """
    return (align(alpha(gamma), z_t) * z_t - x) / align(sigma(gamma), z_t)


# What a score network may estimate, and how v̂ follows from it: (z_t, estimate, γ [B]) -> v̂.
PREDICTIONS = {"v": velocity_from_velocity, "eps": velocity_from_noise, "x": velocity_from_image}

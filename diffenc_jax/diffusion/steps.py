"""The path from noise to data cut into T steps, each with its own ratio of variances (arXiv 2310.19789).

From t to s < t the path and the model are, with c = 1 - e^(γ_s - γ_t),

  q(z_s | z_t, x) = N(μ_Q, σ_Q² I),  μ_Q = (α_s/α_t) e^(γ_s - γ_t) z_t + α_s (x_s - e^(γ_s - γ_t) x_t),  σ_Q² = σ_s² c,
  p(z_s | z_t)    = N(μ_P, σ_P² I),  μ_P = (α_s/α_t) e^(γ_s - γ_t) z_t + α_s b x̂,                      σ_P² = σ_Q² / w.

b = c (1 + k σ_t²), where k makes up for the encoder's drift between t and s: `still` for the identity,
otherwise one of `EXTRAPOLATIONS`, which tend to 1 as s -> t. The variance ratio w is a free weight.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffenc_jax.diffusion.gaussian import align, alpha, sigma

Extrapolation = Callable[[Float[Array, "*b"], Float[Array, "*b"]], Float[Array, "*b"]]


class Instant(NamedTuple):
    """A place on the path at infinite depth: γ_t and γ'(t), [B]."""

    gamma_t: Float[Array, " b"]
    dgamma: Float[Array, " b"]


class Step(NamedTuple):
    """A place on the path at finite depth: the step from t to s, one for each example.

    Attributes:
      gamma_s, gamma_t: [B].
      ratio: w, [B] and then the images' axes, of length 1 where all entries share one.
      depth: [] number of steps, of which each is as likely as any other to be drawn.
    """

    gamma_s: Float[Array, " b"]
    gamma_t: Float[Array, " b"]
    ratio: Float[Array, "b ..."]
    depth: Float[Array, ""]


class Steps(NamedTuple):
    """All T steps.

    Attributes:
      gamma: [T + 1] increasing, from γ_0 at the data to γ_1 at the noise.
      ratio: w of the step that ends in γ[i], [T] and then the images' axes, of length 1 where shared.
    """

    gamma: Float[Array, " n"]
    ratio: Float[Array, "m ..."]

    @property
    def depth(self) -> int:
        """T."""
        return self.ratio.shape[0]

    def at(self, t: Float[Array, " b"]) -> Step:
        """The step that holds time t of [0, 1), were all steps of equal length."""
        i = jnp.clip(jnp.floor(t * self.depth).astype(jnp.int32), 0, self.depth - 1)
        depth = jnp.asarray(self.depth, self.gamma.dtype)
        return Step(self.gamma[i], self.gamma[i + 1], self.ratio[i], depth)


def still(gamma_s: Float[Array, "*b"], gamma_t: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """k = 0: for the identity, which does not drift."""
    return jnp.zeros_like(gamma_t)


def linear(gamma_s: Float[Array, "*b"], gamma_t: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """k = (γ_t - γ_s) / c: as if x_t went on changing at its present rate in γ (as published)."""
    return (gamma_t - gamma_s) / -jnp.expm1(gamma_s - gamma_t)


def exponential(gamma_s: Float[Array, "*b"], gamma_t: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """k = α_s² / α_t², so b = α_s²/α_t² - e^(γ_s - γ_t): exact for x_t = α_t² x."""
    return jax.nn.sigmoid(-gamma_s) / jax.nn.sigmoid(-gamma_t)


EXTRAPOLATIONS: dict[str, Extrapolation] = {"linear": linear, "exponential": exponential}


def posterior(
    z_t: Float[Array, "b *d"],
    x_s: Float[Array, "b *d"],
    x_t: Float[Array, "b *d"],
    gamma_s: Float[Array, " b"],
    gamma_t: Float[Array, " b"],
) -> tuple[Float[Array, "b *d"], Float[Array, " b"]]:
    """μ_Q [B, ...] and σ_Q² [B] of q(z_s | z_t, x)."""
    rest = jnp.exp(gamma_s - gamma_t)
    shrink, alpha_s = align(alpha(gamma_s) / alpha(gamma_t) * rest, z_t), align(alpha(gamma_s), z_t)
    return shrink * z_t + alpha_s * (x_s - align(rest, z_t) * x_t), _posterior_variance(gamma_s, gamma_t)


def reverse(
    z_t: Float[Array, "b *d"],
    x_hat: Float[Array, "b *d"],
    gamma_s: Float[Array, " b"],
    gamma_t: Float[Array, " b"],
    k: Float[Array, " b"],
) -> tuple[Float[Array, "b *d"], Float[Array, " b"]]:
    """μ_P [B, ...] and w σ_P² = σ_Q² [B] of p(z_s | z_t), where x̂ estimates x_t."""
    c = -jnp.expm1(gamma_s - gamma_t)
    b = c * (1.0 + k * jax.nn.sigmoid(gamma_t))
    shrink = align(alpha(gamma_s) / alpha(gamma_t) * (1.0 - c), z_t)
    return shrink * z_t + align(alpha(gamma_s) * b, z_t) * x_hat, _posterior_variance(gamma_s, gamma_t)


def _posterior_variance(gamma_s: Float[Array, " b"], gamma_t: Float[Array, " b"]) -> Float[Array, " b"]:
    return jnp.square(sigma(gamma_s)) * -jnp.expm1(gamma_s - gamma_t)

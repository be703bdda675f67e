"""The generative model's step p(z_s | z_t): the encoding that it assumes of the image behind z_t.

The mean μ_P of p(z_s | z_t) is the mean of q(z_s | z_t, x) (steps.py) for an encoding that follows only from the score
network's x̂: an assumed x̂_t with an assumed drift,

  μ_P = (α_s/α_t) e^(γ_s - γ_t) z_t + α_s c [x̂_t - σ_t² drift],   c = 1 - e^(γ_s - γ_t),

so that the diffusion loss compares both with the encoder's own x_t and drift. An encoder that scales the noise adds
c ℓ (α_s/α_t) (z_t - α_t x̂_t), with the lag ℓ of the assumed encoding (`Affine`). There are two ways to assume it:

  `Extrapolated`    x̂ estimates x_t, and the drift is -k x̂, as published (arXiv 2310.19789)
  `ThroughEncoder`  x̂ estimates the image x, and the encoder gives its x̂_t and drift (arXiv 2404.12940)
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from diffenc_jax.diffusion.arrays import AnyShape, Gammas, Images
from diffenc_jax.diffusion.encoders import Assumed, Encoder, Encoding
from diffenc_jax.diffusion.gaussian import align, alpha, sigma
from diffenc_jax.diffusion.steps import PathPoint, Step


@dataclass(frozen=True)
class Extrapolated:
    """x̂ estimates x_t, and the drift is assumed to be -k x̂; k = 0 for an encoder that does not drift.

    With b = c (1 + k σ_t²) the mean is μ_P = (α_s/α_t) e^(γ_s - γ_t) z_t + α_s b x̂.

    Attributes:
      factor: (γ_s, γ_t) -> k, which tends to 1 as s -> t.
    """

    factor: Callable[[AnyShape, AnyShape], AnyShape]

    def __call__(self, x_hat: Images, point: PathPoint, encoder: Encoder) -> Assumed:
        """The encoding at `point`."""
        k = align(jnp.asarray(point.drift_factor(self.factor) * encoder.drifts), x_hat)
        return Assumed(Encoding(x_hat, -k * x_hat))

    def slope(self, x_hat: Images, gamma: Gammas, encoder: Encoder) -> Images | None:
        """An estimate [B, ...] of (dx_t/dγ) / σ_t² given z_t at γ [B]; None where x̂ does not determine it."""
        return encoder.slope_estimate(x_hat, gamma) if encoder.has_slope else None

    def image(self, x_hat: Images, gamma: Gammas, encoder: Encoder) -> Images | None:
        """An estimate [B, ...] of x given z_t at γ [B]; None where x̂ does not determine it."""
        return encoder.image_estimate(x_hat, gamma)


@dataclass(frozen=True)
class ThroughEncoder:
    """x̂ estimates the image x, whose x̂_t and drift are the encoder's: p(z_s | z_t) is q(z_s | z_t, x̂).

    At infinite depth, x_t - dx_t/dγ is then predicted by x̂_t - dx̂_t/dγ instead of (1 + σ_t²) x̂.
    """

    def __call__(self, x_hat: Images, point: PathPoint, encoder: Encoder) -> Assumed:
        """The encoding at `point`."""
        encoding = point.encode(encoder, x_hat)
        return Assumed(encoding, (encoding.x_t - x_hat) / align(jax.nn.sigmoid(point.gamma_t), x_hat))

    def slope(self, x_hat: Images, gamma: Gammas, encoder: Encoder) -> Images:
        """Slope of the image x̂: the flow moves z along the path of the image x̂ through z.

        For x̂ = E[x | z] and an encoder that is linear in x, it is E[slope | z], and the flow has the marginals of
        q. For any other encoder, even where x̂ gives the reverse drift E[b | z], the flow is another generative model
        with other marginals, and the likelihood belongs to this model.
        """
        return encoder.mean_and_slope(x_hat, gamma).drift

    def image(self, x_hat: Images, gamma: Gammas, encoder: Encoder) -> Images:
        """x̂ itself."""
        return x_hat


Assumption = Extrapolated | ThroughEncoder


# k = (γ_t - γ_s) / c: x_t goes on changing at its present rate in γ, as published.
linear = Extrapolated(lambda gamma_s, gamma_t: (gamma_t - gamma_s) / -jnp.expm1(gamma_s - gamma_t))
# k = α_s² / α_t², so that b = α_s²/α_t² - e^(γ_s - γ_t): exact for x_t = α_t² x.
exponential = Extrapolated(lambda gamma_s, gamma_t: jax.nn.sigmoid(-gamma_s) / jax.nn.sigmoid(-gamma_t))


def mean(z_t: Images, assumed: Assumed, step: Step) -> Images:
    """μ_P [B, ...] of p(z_s | z_t)."""
    x_t, drift, _, lag = assumed.encoding
    c, shrink = -jnp.expm1(step.gamma_s - step.gamma_t), alpha(step.gamma_s) / alpha(step.gamma_t)
    moved = x_t - align(jnp.square(sigma(step.gamma_t)), z_t) * drift
    if lag is not None:
        factor = 1.0 + lag * align(jnp.expm1(step.gamma_t - step.gamma_s), z_t)
        z_t, moved = factor * z_t, moved - lag * x_t
    return align(shrink * (1.0 - c), z_t) * z_t + align(alpha(step.gamma_s) * c, z_t) * moved

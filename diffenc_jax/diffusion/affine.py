"""An encoder that scales the noise as well as the mean: z_t = α_t x_t + σ_t e^ρ ε, with ρ a function of x and γ.

With α_t and σ_t those of the schedule, this is the affine Gaussian forward process of arXiv 2404.12940. The reverse
process of the path and of the model have the same noise, which must not depend on x: that of VDM, with the variance
σ_t² per unit of γ, and σ_s² c over a step (steps.py). Then, by that paper's equation for the reverse drift of an image,

  b = dμ/dγ + (dσ/dγ / σ + σ_t² / (2 σ²)) (z - μ),  μ = α_t x_t,  σ = σ_t e^ρ,

and the loss is ½ ∫ E‖b - b̂‖² / σ_t² dγ, where b̂ is the same function of x̂. Over a step

  q(z_s | z_t, x) = N(α_s x_s + σ_s √(e^(2 ρ_s) - c) ε, σ_s² c),  ε = (z_t - α_t x_t) / (σ_t e^ρ_t),

which has the marginals above as long as c <= e^(2 ρ_s) in every dimension. In longer steps the variance is
σ_s² min(c, 0.99 e^(-2 reach)), where |ρ| <= `reach`. With a variance that depends on x, such as c times that of
q(z_s | x), every step would cost its mismatch with the model's, however short it is, and the bound would grow with the
depth.

Both differences can be written with the lag ℓ of the noise, which vanishes where ρ does,

  ℓ = ½ - dρ/dγ - ½ e^(-2 ρ) at an instant,   ℓ = (λ - 1) / (e^(γ_t - γ_s) - 1) over a step,
  λ = √(e^(2 ρ_s) - c) e^(½ (γ_t - γ_s) - ρ_t),

as the error that takes the place of v_t - v̂ + σ_t (drift + f): with n = e^ρ ε and the assumed encoding of x̂, whose
offset is (x̂_t - x̂) / σ_t²,

  (1 - ℓ̂) (v_t - v̂ + σ_t offset) + σ_t (drift - assumed drift) + (ℓ̂ - ℓ) n / α_t.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import held, key
from diffenc_jax.diffusion.arrays import Gammas, Images
from diffenc_jax.diffusion.encoders import Assumed, Encoded, Encoder, Encoding, Network, Scale, offset_quotient
from diffenc_jax.diffusion.gaussian import align, alpha, sigma

# Largest part of q(z_s | x)'s least variance that is drawn anew in a step; at 1, √(e^(2 ρ_s) - c) could have no slope.
MOST = 0.99


@dataclass(frozen=True)
class Affine(Encoder):
    """x_t = x + σ_t² m and ρ = reach · tanh(r), where m and r are the halves of the network's output [B, .., 2 C]."""

    scales_noise: ClassVar[bool] = True
    network_kind: ClassVar[str] = "unet"
    outputs: ClassVar[int] = 2

    reach: float = key(doc="Largest |ρ|, positive.")
    network: Network = held()

    def __post_init__(self):
        require(self.reach > 0, f"an encoder's reach={self.reach} must be positive")

    def encode(self, x: Images, gamma: Gammas) -> Encoded:
        offset, log_std = self._parts(x, gamma)
        return Encoded(x + align(jax.nn.sigmoid(gamma), x) * offset, log_std)

    def mean(self, x: Images, gamma: Gammas) -> Images:
        return self.encode(x, gamma).x_t

    def mean_and_slope(self, x: Images, gamma: Gammas) -> Encoding:
        """dx_t/dγ = σ_t² α_t² m + σ_t² dm/dγ."""
        parts, rates = jax.jvp(lambda gamma: self._parts(x, gamma), (gamma,), (jnp.ones_like(gamma),))
        (offset, log_std), (offset_rate, log_std_rate) = parts, rates
        x_t = x + align(jax.nn.sigmoid(gamma), x) * offset
        slope = align(jax.nn.sigmoid(-gamma), x) * offset + offset_rate
        return Encoding(x_t, slope, Scale(log_std, -log_std_rate - 0.5 * jnp.expm1(-2.0 * log_std)))

    def mean_and_quotient(self, x: Images, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        (offset_s, log_std_s), (offset, log_std) = self._parts(x, gamma_s), self._parts(x, gamma_t)
        drift = offset_quotient(offset, offset - offset_s, gamma_s, gamma_t)
        x_t = x + align(jax.nn.sigmoid(gamma_t), x) * offset
        return Encoding(x_t, drift, self._scale(log_std_s, log_std, gamma_s, gamma_t))

    def between(self, at_s: Encoded, at_t: Encoded, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        log_std_s, log_std_t = (jnp.asarray(at.log_std) for at in (at_s, at_t))
        scale = self._scale(log_std_s, log_std_t, gamma_s, gamma_t)
        return super().between(at_s, at_t, gamma_s, gamma_t)._replace(scale=scale)

    def variance_share(self, gamma_s: Gammas, gamma_t: Gammas) -> Gammas:
        return jnp.minimum(1.0, MOST * math.exp(-2.0 * self.reach) / -jnp.expm1(gamma_s - gamma_t))

    def missed(self, true: Encoding, assumed: Assumed, velocity: Images, v: Images, gamma_t: Gammas) -> Images:
        """The error above without v_t - v̂."""
        missed = super().missed(true, assumed, velocity, v, gamma_t)
        s, a = align(sigma(gamma_t), v), align(alpha(gamma_t), v)
        lag, true_lag = (cast(Scale, encoding.scale).lag for encoding in (assumed.encoding, true))
        missed -= lag * (velocity + s * (0.0 if assumed.offset is None else assumed.offset))
        return missed + (lag - true_lag) * ((v + s * true.x_t) / a) / a

    def _scale(self, log_std_s: Images, log_std_t: Images, gamma_s: Gammas, gamma_t: Gammas) -> Scale:
        """ρ_t and ℓ over a step: (λ² - 1) / (e^(γ_t - γ_s) - 1) / (λ + 1), where λ² - 1 is no small difference."""
        length, share = align(gamma_t - gamma_s, log_std_t), self.variance_share(gamma_s, gamma_t)
        rise = jnp.expm1(length)
        growth = jnp.expm1(length + 2.0 * (log_std_s - log_std_t)) / rise
        square = growth - align(share, log_std_t) * jnp.exp(-2.0 * log_std_t)
        return Scale(log_std_t, square / (jnp.sqrt(1.0 + square * rise) + 1.0))

    def _parts(self, x: Images, gamma: Gammas) -> tuple[Images, Images]:
        """m and ρ."""
        offset, scale = jnp.split(self.network(x, gamma), 2, axis=-1)
        return offset, self.reach * jnp.tanh(scale)

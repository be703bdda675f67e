"""An encoder that fades the image out as the noise comes in."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from diffenc_jax.core.keys import at_least, key
from diffenc_jax.diffusion.encoders import Encoder, Encoding
from diffenc_jax.diffusion.gaussian import align


@dataclass(frozen=True)
class Fading(Encoder):
    """x_t = α_t^p x; dx_t/dγ = -(p/2) σ_t² α_t^p x.

    Only `mean` is needed. The closed form of the slope keeps digits that automatic differentiation loses. The
    estimates, which follow from x̂, are for the probability flow and the study of rate and distortion.
    """

    has_slope: ClassVar[bool] = True

    power: float = key(1.0, "Power p of α_t, at least 0. 0 is VDM, 2 the non-trainable encoder.", limits=at_least(0))

    def mean(self, x, gamma):
        return align(self._share(gamma), x) * x

    def mean_and_slope(self, x, gamma):
        x_t = self.mean(x, gamma)
        return Encoding(x_t, self.slope_estimate(x_t, gamma))

    def slope_estimate(self, x_hat, gamma):
        return -0.5 * self.power * x_hat

    def image_estimate(self, x_hat, gamma):
        return x_hat / align(self._share(gamma), x_hat)

    def _share(self, gamma):
        return jnp.exp(0.5 * self.power * jax.nn.log_sigmoid(-gamma))

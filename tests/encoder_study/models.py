"""Models of formulas instead of networks, to be looked at by γ."""

import jax.numpy as jnp

from diffenc_jax.diffusion.gaussian import velocity_from_image
from diffenc_jax.model import ImageSpec
from tests import tiny

GAMMA_0, GAMMA_1 = -7.0, 5.0
X_HAT = 0.3


class Formula:
    """With `encoder`; its x̂ is X_HAT everywhere, unless it has another v̂."""

    def __init__(self, encoder, shape=(4, 4, 1), levels=tiny.LEVELS, predict_v=None):
        self.spec = ImageSpec(shape, levels)
        self._encoder, self._predict_v = encoder, predict_v

    def encoder(self, params):
        return self._encoder

    def predict_v(self, params):
        return self._predict_v or (lambda z, gamma: velocity_from_image(z, jnp.full_like(z, X_HAT), gamma))

    def ends(self, params):
        return jnp.float32(GAMMA_0), jnp.float32(GAMMA_1)

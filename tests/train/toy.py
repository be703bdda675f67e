"""A model of few parameters with the interface that training uses."""

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.encoders import NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.losses import Noise
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.model import ImageSpec
from diffenc_jax.train import gradients
from diffenc_jax.train.gradients import StepInputs


@dataclass(frozen=True)
class Toy:
    """At infinite depth, with an exact denoiser of x ~ N(0, I) under x_t = α_t² x, times params['scale'].

    The encoder is x_t = α_t² x, or one of params['encoder'] where there is such.
    """

    spec: ImageSpec
    schedule: nn.Module
    loss: ClassVar = SimpleNamespace(depth=None)
    score: ClassVar = SimpleNamespace(compute=SimpleNamespace(scan=True))
    separate_losses: ClassVar = ()

    def condition(self, params, batch, dropout_key=None):
        return None

    def bind(self, params, dropout_key=None, condition=None):
        def predict(z, gamma):
            alpha, sigma = jnp.sqrt(jax.nn.sigmoid(-gamma)), jnp.sqrt(jax.nn.sigmoid(gamma))
            x_hat = align(alpha**5 / (alpha**6 + sigma**2), z) * z
            return Prediction(params["scale"] * (align(alpha, z) * z - x_hat) / align(sigma, z))

        def network(x, gamma):
            return jnp.sin(params["encoder"] * x + 0.1 * align(gamma, x))

        encoder = Trainable(network) if "encoder" in params else NonTrainable()
        gamma = lambda t: self.schedule.apply({"params": params["schedule"]}, t)  # noqa: E731
        return Process(encoder, predict, gamma, pixel_levels=self.spec.pixel_levels)

    def place(self, params, t):
        return self.bind(params).instant(t)


def random_draw(shape):
    """A draw for uint8 [B, ...] of `shape`, with the end points of all images."""
    rng = np.random.RandomState(0)
    pixels = rng.randint(0, 256, shape).astype(np.uint8)
    eps_0, eps_t = rng.normal(size=(2, *shape))
    noise = Noise(rng.uniform(size=shape[0]), eps_0, eps_t)
    return StepInputs(Batch(pixels), noise, np.ones(shape[0]), jax.random.key(0))


gradient = jax.jit(gradients.gradient, static_argnums=0)


@partial(jax.jit, static_argnums=(0, 3, 4))
def accumulated_gradient(model, params, draw, parts, devices):
    """`gradients.accumulated_gradient` of a draw in `parts` parts."""
    return gradients.accumulated_gradient(model, params, draw.split(parts, devices))

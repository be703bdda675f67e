"""Models with an additional head of the score network, and their parameters in two parts: the head's, and the rest."""

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.losses import TERMS
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.gradients import StepInputs
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)
KEY = jax.random.key(3)


def built(**changes):
    return build(tiny.config(small=True, **changes), SPEC)


def example(model):
    """Parameters away from zero, and a batch."""
    params = tiny.away_from_zero(jax.jit(model.init)(KEY), scale=0.1)
    noise = model.draw_noise(jax.random.key(1), jnp.linspace(0.05, 0.95, 6))
    return params, StepInputs(Batch(jnp.asarray(tiny.images(6))), noise, jnp.ones(6), KEY)


def split(params, name):
    """All parameters but those of the head `name`, and the head's."""
    rest = {part: values for part, values in params["score"].items() if part != name}
    return params | {"score": rest}, params["score"][name]


def join(rest, name, head):
    return rest | {"score": rest["score"] | {name: head}}


def stack(terms):
    """The terms of the bound, [3, B]."""
    return np.stack([getattr(terms, name) for name in TERMS])

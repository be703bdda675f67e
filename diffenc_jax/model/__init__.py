"""`Model`, and `build`: the only place where the parts meet."""

from diffenc_jax.model.build import build, outside_parts
from diffenc_jax.model.model import DataSpec, Model, Params, bind_to

__all__ = ["DataSpec", "Model", "Params", "bind_to", "build", "outside_parts"]

"""A run on small random images, and parameters none of which is zero."""

import functools

from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.base import BaseRun
from tests import tiny

SPLITS = {"train": tiny.images(20), "test": tiny.images(13, seed=1)}


def run_with(arm="diffenc", small=True, **changes):
    """The run of `tiny.config` with these changes."""
    config = tiny.config(arm, small, **changes)
    return BaseRun(config, make_mesh(), tiny.dataset(SPLITS), tiny.model(config))


@functools.cache
def parameters(arm="diffenc", scale=0.1, small=True):
    """Parameters of the arm's model, away from zero."""
    return tiny.drawn(run_with(arm, small).model, scale=scale)

"""Arrays of the published code, and checkpoints as it saves them, with random parameters."""

import jax
import numpy as np
from flax import serialization
from flax.traverse_util import unflatten_dict

from diffenc_jax.lab.interop import names
from diffenc_jax.model import build
from tests import ROOT, tiny

STEP = 1_300_000
REFERENCES = ROOT / "tests/reference"


def reference(name):
    """The arrays of a reference file."""
    with np.load(REFERENCES / f"{name}.npz") as archive:
        return dict(archive)


def write(path, ema, step=STEP):
    """A checkpoint as the published code saves one: averages, other parameters, the optimizer's state."""
    tree = unflatten_dict(ema, sep="/")
    others = jax.tree.map(lambda a: a + 1, tree)
    optimizer = {"0": {"count": np.int32(step), "mu": others, "nu": others}, "1": {}}
    state = {"step": step, "params": others, "ema_params": tree, "opt_state": optimizer}
    path.write_bytes(serialization.msgpack_serialize(state))
    return path


def published_parameters(config, spec=tiny.SPEC):
    """Random parameters of a published model for images of `spec`, by their published names."""
    shapes = jax.eval_shape(build(config, spec).init, jax.random.key(0))
    locations = names.locations(shapes, names.Dialect(bare=False, numbered=False))
    rng = np.random.RandomState(0)
    return {name: 0.1 * rng.normal(size=at.shape).astype(np.float32) for name, at in locations.items()}

"""A configuration small enough to compile in seconds, and images for it."""

import functools

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from diffenc_jax.config import Config, recipe
from diffenc_jax.core import parts
from diffenc_jax.data.dataset import Dataset, Split
from diffenc_jax.data.images import Source
from diffenc_jax.model import DataSpec, Model, build

LEVELS = 17
SPEC = DataSpec((4, 4, 1), LEVELS)
NORMS = dict(groups=8, mid_groups=8, out_groups=8)
TRANSFORMER = dict(patch=2, width=8, layers=2, heads=2)
MLP = dict(width=16, layers=2, dropout=0.1, fourier_bins=())
# Score networks by their registered names.
SCORE_NETWORKS = {
    "unet": recipe.score_network(width=32, layers=1, **NORMS),
    "transformer": recipe.score_transformer(**TRANSFORMER),
    "mlp": ConfigDict({"kind": "mlp", **MLP}),
}
# Encoders by a registered name, one per network.
ENCODERS = {
    "trainable": recipe.encoder_network(width=32, layers=1, levels=1, **NORMS),
    "transformer": recipe.transformer_network(**TRANSFORMER),
    "dct": recipe.dct_network(width=8),
    "mlp": ConfigDict({"kind": "mlp", **MLP}),
}
# Networks for tests of what surrounds them: a training step is compiled in a third of the time.
SMALL = {
    "model.score": recipe.score_transformer(**TRANSFORMER | {"patch": 1, "layers": 1}),
    "model.encoder": ENCODERS["dct"],
}


def by_key(changes):
    """Changes by key, whose dots were written as two underscores."""
    return {key.replace("__", "."): value for key, value in changes.items()}


def file(small=True, **changes):
    """Text of a configuration file of the same models as those of `config`, by default with SMALL networks."""
    return f"""
from diffenc_jax.config.recipe import with_changes
from tests import tiny

def get_config(arm="vdm"):
    return with_changes(tiny.config_dict(arm, {small}), {by_key(changes)})
"""


FILE = file()


def config_dict(arm="diffenc", small=False):
    """ConfigDict of a model of 4x4 images with one channel, for configuration files; `small` takes SMALL networks."""
    changes = {
        "data.source": "digits",
        "data.pixel_levels": LEVELS,
        "data.shuffle_shards": 4,
        "model.score": SCORE_NETWORKS["unet"],
        "model.encoder": ENCODERS["trainable"],
        "train.steps": 8,
        "train.batch_size": 8,
        "train.learning_rate": 1e-3,
        "train.warmup_steps": 2,
        "train.ema_decay": 0.9,
        "log.every_steps": 3,
        "log.samples": 4,
        "log.writers": (),
        "checkpoint.every_steps": 4,
        "eval.every_steps": 100,
        "eval.batch_size": 8,
        "fit.images": 8,
        "fit.grid": 16,
        "sample.num": 4,
        "sample.depth": 3,
    }
    changes |= SMALL if small else {}
    return recipe.choose_arm(recipe.with_changes(recipe.recipe("tiny", arm), changes), recipe.ARMS)


def config(arm="diffenc", small=False, **changes):
    """`Config` of the same model; `changes` by key, dots written as two underscores."""
    return Config.parse(config_dict(arm, small)).replace(parts.allowed(by_key(changes)))


def model(config: Config) -> Model:
    """The model of a configuration for images of 4x4 pixels with one channel."""
    return build(config, SPEC)


def drawn(net, *inputs, scale=0.1, seed=0):
    """Parameters of a model, or of a network for these inputs, drawn from N(0, scale²) without compiling their start.

    With scale 0 all are zero.
    """
    shapes = shapes_of(net, *(jax.ShapeDtypeStruct(np.shape(x), np.float32) for x in inputs))
    return away_from_zero(jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes), scale, seed)


@functools.cache
def shapes_of(net, *inputs):
    """Shapes of the parameters of a model or a network, traced once for all its draws."""
    return jax.eval_shape(net.init, jax.random.key(0), *inputs)


def away_from_zero(params, scale=0.05, seed=0):
    """`params` plus draws from N(0, scale²), so that no zero of the initialisation hides an error."""
    leaves, structure = jax.tree.flatten(params)
    generators = (np.random.RandomState(1000 * seed + i) for i in range(len(leaves)))
    draws = [scale * rng.normal(size=np.shape(leaf)) for rng, leaf in zip(generators, leaves, strict=True)]
    # A sum of arrays on a device, and `jnp.asarray`, compile a program per shape.
    known = [leaf if isinstance(leaf, jax.core.Tracer) else np.asarray(leaf) for leaf in leaves]
    return jax.device_put(structure.unflatten(leaf + np.float32(d) for leaf, d in zip(known, draws, strict=True)))


def without_condition(params):
    """The parameters but for the kernels of the condition."""
    flat = flatten_dict(params, keep_empty_nodes=True)
    return unflatten_dict({path: leaf for path, leaf in flat.items() if "condition" not in path})


def dataset(data, name="tiny", labels=None, spec=SPEC, log_prob=None):
    """A data set of arrays in memory, and their labels, by split."""
    source = Source(name, "1", {split: lambda array=array: array for split, array in data.items()}, log_prob=log_prob)
    made = Dataset(lambda: source, spec.pixel_levels, spec=spec)
    for split, array in data.items():
        made = made.with_split(Split(split, source, spec, array, (labels or {}).get(split)))
    return made


def images(count=20, shape=(4, 4, 1), seed=0):
    """Random uint8 [count, *shape] below LEVELS."""
    return np.random.RandomState(seed).randint(0, LEVELS, (count, *shape)).astype(np.uint8)

"""A configuration small enough to compile in seconds, and images for it."""

import jax
import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.config.recipe import (
    ARMS,
    choose_arm,
    dct_network,
    encoder_network,
    recipe,
    score_network,
    score_transformer,
    transformer_network,
    with_changes,
)
from diffenc_jax.core import parts

LEVELS = 17
NORMS = dict(groups=8, mid_groups=8, out_groups=8)
TRANSFORMER = dict(patch=2, width=8, layers=2, heads=2)
# Score networks by their registered names.
SCORE_NETWORKS = {
    "unet": score_network(width=32, layers=1, **NORMS),
    "transformer": score_transformer(**TRANSFORMER),
}
# Encoders by a registered name, one per network.
ENCODERS = {
    "trainable": encoder_network(width=32, layers=1, levels=1, **NORMS),
    "transformer": transformer_network(**TRANSFORMER),
    "dct": dct_network(width=8),
}
# Networks for tests of what surrounds them: a training step is compiled in a third of the time.
SMALL = {
    "model.score": score_transformer(**TRANSFORMER | {"patch": 1, "layers": 1}),
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
    return choose_arm(with_changes(recipe("tiny", arm), changes), ARMS)


def config(arm="diffenc", small=False, **changes):
    """`Config` of the same model; `changes` by key, dots written as two underscores."""
    return Config.parse(config_dict(arm, small)).replace(parts.allowed(by_key(changes)))


def parameters(net, x, time, scale=0.1):
    """Parameters of a network, drawn from N(0, scale²)."""
    return drawn(net.init, x, time, scale=scale)


def drawn(init, *inputs, scale=0.3):
    """Parameters of the shapes that `init` gives them, drawn from N(0, scale²) without compiling it; 0: all zero."""
    shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
    return away_from_zero(jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes), scale)


def away_from_zero(params, scale=0.05):
    """`params` plus draws from N(0, scale²), so that no zero of the initialisation hides an error."""
    leaves, structure = jax.tree.flatten(params)
    draws = [scale * np.random.RandomState(i).normal(size=leaf.shape) for i, leaf in enumerate(leaves)]
    changed = [np.asarray(leaf) + np.float32(draw) for leaf, draw in zip(leaves, draws, strict=True)]
    return jax.device_put(structure.unflatten(changed))  # `jnp.asarray` compiles a program per shape


def images(count=20, shape=(4, 4, 1), seed=0):
    """Random uint8 [count, *shape] below LEVELS."""
    return np.random.RandomState(seed).randint(0, LEVELS, (count, *shape)).astype(np.uint8)

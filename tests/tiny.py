"""A configuration small enough to compile in seconds, and images for it."""

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config import (
    ARMS,
    choose_arm,
    dct_network,
    encoder_network,
    recipe,
    score_network,
    transformer_network,
    unpack,
    with_changes,
)
from diffenc_jax.train.optimizer import TrainConfig

LEVELS = 17
NORMS = dict(groups=8, mid_groups=8, out_groups=8)
# The encoders that have a network, by the kind that `networks.ENCODERS` lists.
ENCODERS = {
    "trainable": encoder_network(width=32, layers=1, levels=1, **NORMS),
    "transformer": transformer_network(patch=2, width=8, layers=2, heads=2),
    "dct": dct_network(width=8),
}


def config(arm="diffenc", **changes):
    """4x4 images of one channel; `changes` by key, dots written as two underscores."""
    small = {
        "data.source": "digits",
        "data.levels": LEVELS,
        "data.stripes": 4,
        "model.score": score_network(width=32, layers=1, **NORMS),
        "model.encoder": ENCODERS["trainable"],
        "train.steps": 8,
        "train.batch_size": 8,
        "train.learning_rate": 1e-3,
        "train.warmup_steps": 2,
        "train.ema_decay": 0.9,
        "log.every_steps": 3,
        "checkpoint.every_steps": 4,
        "eval.every_steps": 100,
        "eval.batch_size": 8,
        "fit.images": 8,
        "fit.grid": 16,
        "sample.num": 4,
        "sample.depth": 3,
    }
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return with_changes(choose_arm(with_changes(recipe("tiny", arm), small), ARMS), named)


def settings(config):
    """Its TrainConfig."""
    return unpack(TrainConfig, config.train, "train")


def parameters(net, x, time, scale=0.1):
    """Of a network, drawn from N(0, scale²): nothing is compiled, and nothing is hidden by zeros of initialisation."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(net.init, jax.random.key(0), x, time))
    draws = [np.random.RandomState(i).normal(size=leaf.shape) for i, leaf in enumerate(leaves)]
    return structure.unflatten([jnp.asarray(scale * draw, jnp.float32) for draw in draws])


def images(count=20, shape=(4, 4, 1), seed=0):
    """Random uint8 [count, *shape] below LEVELS."""
    return np.random.RandomState(seed).randint(0, LEVELS, (count, *shape)).astype(np.uint8)

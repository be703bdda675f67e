"""Runs of one seed share images, times and noise at every step, whatever their arm."""

import jax
import numpy as np

from diffenc_jax.data.images import Batch
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.program import TrainingProgram
from tests import tiny

IMAGES = tiny.images(20)


def drawn(arm, seed, step):
    """Images, times, noise and images of the end points of a training step."""
    config = tiny.config(arm, seed=seed)
    batch = Batches(Batch(IMAGES), config, make_mesh())(step)
    function = TrainingProgram(tiny.model(config), config)
    inputs = function.inputs(np.uint32(seed), np.int32(step), batch, None)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(inputs._replace(dropout_key=None))]


def test_arms_of_a_seed_share_their_draws_and_seeds_do_not():
    for step in (0, 7):
        for ours, theirs in zip(drawn("vdm", 3, step), drawn("diffenc", 3, step), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    images, times, *_ = zip(drawn("vdm", 3, 7), drawn("vdm", 4, 7), strict=True)
    assert not np.array_equal(*images)
    assert not np.array_equal(*times)

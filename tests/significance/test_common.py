"""What the runs of one seed have in common, whatever their arm: images, times and noise, step by step."""

import jax
import numpy as np
import pytest

from diffenc_jax.data.dataset import Dataset
from diffenc_jax.model import ImageSpec, Model, build
from diffenc_jax.train.loop import Trainer
from diffenc_jax.train.sharding import make_mesh
from diffenc_jax.train.step import init_and_step
from tests import tiny


class Seen(Exception):
    """Carries what the loss was given."""


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """(arm, seed, step) -> the images, times and noise of that step's loss; nothing is compiled."""

    def stop(self, params, pixels, noise, dropout_key=None, at=None, at_ends=None):
        raise Seen(pixels, *noise)

    monkeypatch.setattr(Model, "terms_and_derivative", stop)
    images = {"train": tiny.images(20), "test": tiny.images(8, seed=1)}

    def seen(arm, seed, step):
        config = tiny.config(arm, seed=seed, eval__time_sampling="uniform")
        model = build(config, ImageSpec((4, 4, 1), tiny.LEVELS))
        trainer = Trainer(model, config, Dataset("made up", "1", tiny.LEVELS, images), make_mesh(), tmp_path)
        _, train_step = init_and_step(model, config)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), trainer.program.state)
        with pytest.raises(Seen) as given:
            train_step(zeros.replace(step=np.int32(step)), trainer.batch(step))
        return [np.asarray(value) for value in given.value.args]

    return seen


@pytest.mark.parametrize("arm", ["vdm", "nontrainable"])
def test_arms_of_a_seed_see_the_same(seen, arm):
    for step in (0, 7):
        for ours, theirs in zip(seen(arm, 3, step), seen("diffenc", 3, step), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_seeds_see_other_things(seen):
    for ours, theirs in zip(seen("vdm", 3, 7), seen("vdm", 4, 7), strict=True):
        assert not np.array_equal(ours, theirs)

"""Samples of a model that is conditioned on augmentation: those of images without augmentation."""

import numpy as np

from diffenc_jax.sampling.draw import Drawer, SamplerFunctions
from diffenc_jax.sampling.samplers import make_sampler
from tests import tiny
from tests.evaluation import subject
from tests.model.test_labels import without_condition


def drawn(params, **changes):
    experiment = subject.experiment("vdm", train__augment="flip", sample__depth=8, **changes)
    return (
        Drawer(SamplerFunctions(experiment, make_sampler(experiment)), params).images(0, 6, lambda share: None).images
    )


def test_samples_have_no_augmentation():
    model = subject.experiment("vdm", train__augment="flip", model__augmentation=True).model
    params = tiny.away_from_zero(tiny.initial(model), 0.02)
    conditioned, plain = drawn(params, model__augmentation=True), drawn(without_condition(params))
    assert len(np.unique(plain)) > 5
    assert np.mean(conditioned == plain) > 0.99  # but for rounding

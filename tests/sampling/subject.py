"""A small model, none of whose parameters is zero, to draw from."""

from typing import NamedTuple

import jax

from diffenc_jax.data.dataset import Dataset
from diffenc_jax.model import ImageSpec, Model, build
from diffenc_jax.sampling.config import SampleConfig
from diffenc_jax.sampling.draw import Drawer
from diffenc_jax.sampling.files import Sampling
from diffenc_jax.sampling.samplers import make_sampler
from diffenc_jax.train import sharding
from tests import tiny
from tests.test_model import perturbed

DATA = Dataset("tiny", "1", tiny.LEVELS, {"train": tiny.images(20), "test": tiny.images(13, seed=1)})


class Subject(NamedTuple):
    model: Model
    params: dict

    def drawer(self, **changes):
        """Of `config.sample` with these changes."""
        config, mesh = tiny.config("vdm", **changes), sharding.make_mesh()
        sampler = make_sampler(self.model, config, DATA, mesh)
        return Drawer(self.model, self.params, sampler, SampleConfig.of(config), mesh)

    def sampling(self, **changes):
        return Sampling(self.model, tiny.config("vdm", **changes), DATA, sharding.make_mesh())


def subject():
    model = build(tiny.config("vdm"), ImageSpec((4, 4, 1), tiny.LEVELS))
    # Not by much: samples of a network that is random altogether follow their rounding, not their noise.
    return Subject(model, perturbed(jax.jit(model.init)(jax.random.key(0)), scale=0.01))

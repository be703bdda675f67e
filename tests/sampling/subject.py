"""A small model, none of whose parameters is zero, to sample from."""

from diffenc_jax.sampling.draw import Drawer, SamplerFunctions
from diffenc_jax.sampling.samplers import make_sampler
from tests.evaluation import subject


def experiment(small=True, **changes):
    return subject.experiment("vdm", small, **changes)


def parameters(small=True):
    """Close to the initialisation: samples of a random network follow its rounding, not their noise."""
    return subject.parameters("vdm", scale=0.01, small=small)


def drawer(**changes):
    """The drawer of a configuration with these changes."""
    changed = experiment(**changes)
    return Drawer(SamplerFunctions(changed, make_sampler(changed)), parameters())

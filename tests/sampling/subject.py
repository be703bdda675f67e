"""A small model, none of whose parameters is zero, to sample from."""

import functools

from diffenc_jax.sampling.sampling import Sampling
from tests.evaluation import subject


def experiment(small=True, **changes):
    return subject.experiment("vdm", small, **changes)


def parameters(small=True):
    """Small ones: samples of a random network follow its rounding, not their noise."""
    return subject.parameters("vdm", scale=0.03, small=small)


@functools.cache
def sampling(**changes):
    """The sampling of a configuration, compiled once."""
    return Sampling(experiment(**changes))

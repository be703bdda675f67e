"""The randomness of a step: other numbers at every step and for every seed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.images import Batch
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.step import StepFunction
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)


def step_of(seed):
    config = tiny.config("vdm", small=True, seed=seed)
    return StepFunction(build(config, SPEC), config)


def test_two_seeds_start_from_other_parameters():
    """Every parameter that is drawn, which are those that are not all 0 or all 1."""
    first, other = (jax.tree.leaves(jax.jit(step_of(seed).init)().params) for seed in (0, 1))
    drawn = [(a, b) for a, b in zip(first, other, strict=True) if len(np.unique(a)) > 1]
    assert len(drawn) > 5
    for a, b in drawn:
        assert np.all(np.asarray(a) != np.asarray(b))


def test_a_step_draws_its_own_times_noise_and_dropout():
    batch = Batch(jnp.asarray(tiny.images(8)))
    draws = [jax.jit(step_of(seed).inputs)(jnp.int32(step), batch, None) for seed, step in ((0, 0), (0, 1), (1, 0))]
    for a, b in itertools.combinations(draws, 2):
        assert jax.random.key_data(a.dropout_key).tolist() != jax.random.key_data(b.dropout_key).tolist()
        for x, y in zip(a.noise, b.noise, strict=True):
            assert np.mean(np.asarray(x) == np.asarray(y)) < 0.01
    assert not np.isin(draws[0].noise.eps_0, draws[0].noise.eps_t).any()

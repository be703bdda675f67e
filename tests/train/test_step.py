"""The randomness of a step: other numbers at every step and for every seed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.images import Batch
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.program import TrainingProgram
from tests import tiny

CONFIG = tiny.config("vdm", small=True)
STEP = TrainingProgram(tiny.model(CONFIG), CONFIG)


def test_two_seeds_start_from_other_parameters():
    """Every parameter that is drawn, which are those that are not all 0 or all 1."""
    params = jax.jit(lambda seed: STEP.init(seed).params)
    first, other = (jax.tree.leaves(params(np.uint32(seed))) for seed in (0, 1))
    drawn = [(a, b) for a, b in zip(first, other, strict=True) if len(np.unique(a)) > 1]
    assert len(drawn) > 5
    for a, b in drawn:
        assert np.all(np.asarray(a) != np.asarray(b))


def test_a_step_draws_its_own_times_noise_and_dropout():

    @jax.jit
    def inputs(seed, step):
        found = STEP.inputs(seed, step, Batch(jnp.asarray(tiny.images(8))), None)
        return found._replace(dropout_key=jax.random.key_data(found.dropout_key))

    draws = [inputs(np.uint32(seed), np.int32(step)) for seed, step in ((0, 0), (0, 1), (1, 0))]
    for a, b in itertools.combinations(draws, 2):
        assert a.dropout_key.tolist() != b.dropout_key.tolist()
        for x, y in zip(a.noise, b.noise, strict=True):
            assert np.mean(np.asarray(x) == np.asarray(y)) < 0.01
    assert not np.isin(draws[0].noise.eps_0, draws[0].noise.eps_t).any()


def test_arms_of_a_seed_share_images_times_and_noise():
    """Which differ between seeds, as above."""
    found = [tiny.config(arm, small=True, seed=3) for arm in ("vdm", "diffenc")]
    steps = [TrainingProgram(tiny.model(config), config) for config in found]
    batches = [Batches(Batch(tiny.images(20)), config, make_mesh())(7) for config in found]
    draws = [step.inputs(3, 7, batch, None) for step, batch in zip(steps, batches, strict=True)]
    jax.tree.map(np.testing.assert_array_equal, *(each._replace(dropout_key=None) for each in draws))

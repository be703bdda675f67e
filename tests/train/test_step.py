"""A training step: its draws, its augmentation, the averages that it logs and the times that it learns."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.data.images import Batch, LabelSpec
from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.diffusion.times import antithetic, by_density
from diffenc_jax.model import DataSpec, build
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.gradients import StepOutputs
from diffenc_jax.train.program import TrainingProgram
from diffenc_jax.train.state import CELLS, LossHistory, TrainState, averages, meter_type, metrics_of_step
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


SHAPE, KINDS = (4, 4, 2), "rotate, flip,colors"
PIXELS = tiny.images(16, SHAPE)
LABELS = np.random.RandomState(0).permutation(16).astype(np.int32)


@functools.cache
def inputs_of(augment=KINDS, conditioned=True, **changes):
    """The compiled function that draws the inputs of a step."""
    changes |= {"train__augment": augment, "train__endpoint_interval": 2}
    config = tiny.config("vdm", small=True, model__augmentation=conditioned, model__labels=True, **changes)
    return jax.jit(TrainingProgram(build(config, DataSpec(SHAPE, tiny.LEVELS, LabelSpec(16))), config).inputs)


def draw(inputs, number=3, seed=0):
    return inputs(np.uint32(seed), np.int32(number), Batch(PIXELS, LABELS), None)


def undone(pixels, flags):
    """Images [H, W, C] before the transformations that their flags name: a flip, then a rotation, then a swap."""
    flip, rotation, swap = flags[0], np.argmax([0.5, *flags[1:4]]), flags[4]
    pixels = pixels[..., ::-1] if swap else pixels
    pixels = np.rot90(pixels, -rotation)
    return np.fliplr(pixels) if flip else pixels


def assert_flags_match(batch, originals):
    for pixels, flags, original in zip(*map(np.asarray, (batch.data, batch.augmentation, originals)), strict=True):
        np.testing.assert_array_equal(undone(pixels, flags), original)


def test_flags_are_those_of_the_transformations_also_at_the_end_points():
    found = draw(inputs_of())
    assert_flags_match(found.batch, PIXELS)
    assert np.mean(np.any(found.batch.data != PIXELS, axis=(1, 2, 3))) > 0.7
    assert_flags_match(found.endpoints, PIXELS[1::2])
    every_second = jax.tree.map(lambda x: x[1::2], jax.device_get(found.batch))
    jax.tree.map(np.testing.assert_array_equal, found.endpoints, every_second)


def test_images_keep_their_flags_and_labels_in_parts_of_a_batch():
    found, original = draw(inputs_of()), dict(zip(LABELS.tolist(), PIXELS, strict=True))
    split = jax.jit(lambda inputs: [inputs.split(2, devices) for devices in (1, 4)])
    for one in split(found):
        for batch, size in ((one.batch, 8), (one.endpoints, 4)):
            batch = jax.device_get(batch)
            assert batch.labels.shape == (2, size)
            joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
            assert_flags_match(joined, [original[label] for label in joined.labels.tolist()])


def test_without_conditioning_the_images_are_the_same_and_without_augmentation_the_draws():
    conditioned, others = draw(inputs_of()), (inputs_of(conditioned=False), inputs_of(None, False))
    plain, without = jax.jit(lambda: [draw(inputs) for inputs in others])()
    assert plain.batch.augmentation is without.batch.augmentation is None
    np.testing.assert_array_equal(plain.batch.data, conditioned.batch.data)
    np.testing.assert_array_equal(without.batch.data, PIXELS)
    jax.tree.map(np.testing.assert_array_equal, without.noise, conditioned.noise)


def test_every_step_and_seed_augments_anew():
    inputs = inputs_of()
    images = [np.asarray(draw(inputs, *given).batch.data) for given in ((3, 0), (4, 0), (3, 1))]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.mean(np.any(images[a] != images[b], axis=(1, 2, 3))) > 0.5
    np.testing.assert_array_equal(images[0], draw(inputs).batch.data)


BATCH = 64


def nats(t, key):
    """Losses far from flat in t, of mean 1 + 2/3 over noise and uniform times."""
    return (1.0 + 8.0 / 3.0 * t**3) * (1.0 + 0.2 * jax.random.normal(key, t.shape))


def test_the_density_follows_the_loss_and_lowers_the_variance():
    """Over 4,000 steps, whose estimates of E nats have the mean of those over uniform times."""

    def step(losses, key):
        key_s, key_eps, key_uniform = jax.random.split(key, 3)
        s = antithetic(jax.random.uniform(key_s), BATCH)
        t, weight = by_density(losses.mass(), s)
        observed = nats(t, key_eps)
        return losses.plus(t, observed), (jnp.mean(weight * observed), jnp.mean(nats(s, key_uniform)))

    keys = jax.random.split(jax.random.key(0), 4000)
    losses, (by_loss, uniform) = jax.jit(lambda: jax.lax.scan(step, LossHistory.empty(), keys))()
    by_loss, uniform = (np.asarray(values, np.float64)[200:] for values in (by_loss, uniform))
    for values in (by_loss, uniform):
        assert abs(values.mean() - 5 / 3) < 5 * values.std() / np.sqrt(len(values))
    assert by_loss.var() < 0.9 * uniform.var()
    t = (np.arange(CELLS) + 0.5) / CELLS
    loss = 1 + 8 / 3 * t**3
    np.testing.assert_allclose(losses.mass(), 0.95 * loss / loss.sum() + 0.05 / CELLS, rtol=0.1)


def test_averages_are_those_of_the_steps_that_count():
    rng = np.random.RandomState(0)
    nats, errors = rng.normal(size=(3, 3, 8)).astype(np.float32), rng.uniform(size=(3, 8)).astype(np.float32)
    times, weights = rng.uniform(size=(3, 8)), rng.uniform(0.5, 2, size=(3, 8)).astype(np.float32)
    norms = rng.uniform(size=3)
    meter = meter_type(("slope_error",)).empty()

    @jax.jit
    def plus(meter, counts, nats, error, time, weight, norm):
        outputs = StepOutputs(jnp.zeros(()), Terms(*nats, {"slope_error": error}), time, weight)
        return meter.merge(metrics_of_step(outputs, dims=5, grad_norm=norm, counts=counts))

    assert averages(meter) == {}
    for row in zip(nats, errors, times, weights, np.float32(norms), strict=True):
        meter = plus(meter, True, *row)
        meter = plus(meter, False, *(np.full_like(value, np.nan) for value in row))
    reconstruction, latent, diffusion = np.swapaxes(nats, 0, 1) / (5 * np.log(2))
    diffusion = diffusion * weights
    scalars = averages(meter)
    assert scalars["bpd"] == pytest.approx((reconstruction + latent + diffusion).mean(), rel=1e-5)
    assert scalars["diffusion"] == pytest.approx(diffusion.mean(), rel=1e-5)
    assert scalars["slope_error"] == pytest.approx((weights * errors).mean() / 5, rel=1e-5)
    assert scalars["grad_norm"] == pytest.approx(norms.mean(), rel=1e-5)
    for i in range(4):
        quarter = (times >= i / 4) & (times < (i + 1) / 4)
        mean = diffusion[quarter].sum() / weights[quarter].sum()
        assert scalars[f"diffusion_quarter_{i + 1}"] == pytest.approx(mean, rel=1e-5)


def test_a_state_is_finite_if_its_arrays_are():
    """Infinities of an optimizer count as values, NaN does not; whole numbers cannot be either."""
    good, inf, nan = jnp.ones(2), jnp.asarray([1.0, jnp.inf]), jnp.asarray([1.0, jnp.nan])
    state = TrainState(jnp.int32(0), good, good, (jnp.int32(0), inf), None, None)
    assert state.is_finite()
    for changes in (dict(params=inf), dict(ema=nan), dict(opt_state=(jnp.int32(0), nan))):
        assert not state.replace(**changes).is_finite()

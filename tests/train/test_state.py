"""Metrics are averages over steps; importance sampling of times has no bias and a lower variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.diffusion.times import antithetic, by_density
from diffenc_jax.train.gradients import StepOutputs
from diffenc_jax.train.state import CELLS, LossHistory, TrainState, averages, meter_type, metrics_of_step

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

"""Metrics against averages in numpy."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.train.gradients import StepOutputs
from diffenc_jax.train.meter import Meter


def test_meter_averages_its_steps():
    rng = np.random.RandomState(0)
    nats, errors = rng.normal(size=(3, 3, 8)).astype(np.float32), rng.uniform(size=(3, 8)).astype(np.float32)
    times, weights = rng.uniform(size=(3, 8)), rng.uniform(0.5, 2, size=(3, 8)).astype(np.float32)
    norms = rng.uniform(size=3)
    meter = Meter.empty(["slope_error"])
    for k in range(3):
        terms = Terms(*map(jnp.asarray, nats[k]), jnp.asarray(errors[k]))
        outputs = StepOutputs(jnp.zeros(()), terms, jnp.asarray(times[k]), jnp.asarray(weights[k]))
        meter = meter.plus(Meter.of_step(outputs, dims=5, grad_norm=jnp.float32(norms[k])))
    reconstruction, latent, diffusion = np.swapaxes(nats, 0, 1) / (5 * np.log(2))
    diffusion = diffusion * weights
    scalars = meter.scalars()
    assert scalars["bpd"] == pytest.approx((reconstruction + latent + diffusion).mean(), rel=1e-5)
    assert scalars["diffusion"] == pytest.approx(diffusion.mean(), rel=1e-5)
    assert scalars["slope_error"] == pytest.approx((weights * errors).mean() / 5, rel=1e-5)
    assert scalars["grad_norm"] == pytest.approx(norms.mean(), rel=1e-5)
    for i in range(4):
        quarter = (times >= i / 4) & (times < (i + 1) / 4)
        mean = diffusion[quarter].sum() / weights[quarter].sum()
        assert scalars[f"diffusion_quarter_{i + 1}"] == pytest.approx(mean, rel=1e-5)

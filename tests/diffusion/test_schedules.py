"""The contract of every registered schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.schedules import SCHEDULES, gamma_min_for


@pytest.mark.parametrize("name", SCHEDULES)
def test_increases_between_its_end_points(name):
    schedule = SCHEDULES[name](-13.3, 5.0)
    t = jnp.linspace(0.0, 1.0, 101)
    gamma = schedule.apply(schedule.init(jax.random.key(0), t), t)
    assert float(gamma[0]) == pytest.approx(-13.3, abs=1e-5)
    assert float(gamma[-1]) == pytest.approx(5.0, abs=1e-5)
    assert np.all(np.diff(gamma) > 0)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_noise_at_the_data_end_is_a_sixth_of_a_bin(levels):
    sigma_in_bins = np.exp(gamma_min_for(levels) / 2) / (2 / levels)
    assert sigma_in_bins == pytest.approx(0.1655, abs=2e-4)

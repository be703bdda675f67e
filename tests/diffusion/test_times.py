"""Antithetic times: evenly spread over the batch, each uniform over draws."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion.times import antithetic


@settings(deadline=None, max_examples=50)
@given(u=st.floats(0, 1, exclude_max=True, width=32), size=st.integers(1, 300))
def test_one_time_falls_into_each_of_equal_parts(u, size):
    t = np.asarray(antithetic(jnp.float32(u), size))
    assert np.all((t >= 0) & (t < 1))
    gaps = np.diff(np.sort(t))
    np.testing.assert_allclose(gaps, 1 / size, atol=1e-6)


def test_each_time_is_uniform():
    u = jax.random.uniform(jax.random.key(0), (4000,))
    t = np.asarray(jax.vmap(lambda u: antithetic(u, 5))(u))
    for column in t.T:
        counts, _ = np.histogram(column, bins=10, range=(0, 1))
        assert abs(counts - 400).max() < 5 * np.sqrt(400)

"""Antithetic times: evenly spread over the batch, each uniform over draws. Best times: a shortest path."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion.times import antithetic, best_times


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


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), points=st.integers(2, 8), data=st.data())
def test_best_times_are_those_of_all_choices(seed, points, data):
    depth = data.draw(st.integers(1, points - 1))
    cost = np.where(
        np.triu(np.ones((points, points)), 1) > 0, np.random.RandomState(seed).uniform(size=(points,) * 2), np.inf
    )
    total = lambda path: sum(cost[s, t] for s, t in itertools.pairwise(path))  # noqa: E731
    choices = itertools.combinations(range(1, points - 1), depth - 1)
    least = min(total((0, *between, points - 1)) for between in choices)
    path = best_times(cost, depth)
    assert path[0] == 0
    assert path[-1] == points - 1
    assert len(path) == depth + 1
    assert np.isclose(total(path), least)

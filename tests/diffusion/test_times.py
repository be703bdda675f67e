"""Times: evenly spread over a batch or over passes, importance-sampled, and the best for steps: a shortest path."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion.times import DEFENSIVE, antithetic, best_density, best_times, by_density


def test_each_time_is_uniform():
    u = np.random.RandomState(0).uniform(size=4000).astype(np.float32)
    t = np.asarray(jax.jit(jax.vmap(lambda u: antithetic(u, 5)))(u))
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


@pytest.mark.parametrize("cells", [1, 3, 64])
def test_importance_sampling_is_unbiased(x64, cells):
    """The weighted mean over a fine grid of s is the integral over t, whatever the density."""
    rng = np.random.RandomState(0)
    mass = rng.uniform(0.1, 3.0, cells)
    s = (np.arange(200_000) + 0.5) / 200_000
    t, weight = map(np.asarray, jax.jit(by_density)(mass / mass.sum(), s))
    assert np.all((t >= 0) & (t < 1))
    assert np.all(np.diff(t) > 0)
    for f, integral in ((lambda t: np.exp(-3 * t), (1 - np.exp(-3)) / 3), (lambda t: t**2, 1 / 3)):
        assert np.mean(weight * f(t)) == pytest.approx(integral, rel=1e-4)


def test_the_best_density_has_the_least_variance():
    """∫ f² / q over other densities, for a loss of which all is known."""
    square = np.linspace(0.2, 3.0, 32) ** 2
    best = best_density(square)
    assert best.sum() == pytest.approx(1.0)
    cost = lambda mass: np.sum(square / mass)  # noqa: E731
    rng = np.random.RandomState(0)
    for _ in range(50):
        other = best * np.exp(0.5 * rng.normal(size=32))
        assert cost(best) < cost(other / other.sum())
    assert cost(best) < 0.9 * cost(np.full(32, 1 / 32))
    # (Σ f)² is the least there is; the defensive part costs little.
    assert cost(best) < 1.02 * np.sqrt(square).sum() ** 2


def test_no_weight_is_large_and_rounding_changes_nothing():
    square = np.random.RandomState(0).uniform(size=64) ** 8
    mass = best_density(square)
    assert 1 / (64 * mass.min()) <= 1.1 / DEFENSIVE
    np.testing.assert_array_equal(best_density(square * (1 + 1e-7)), mass)
    np.testing.assert_array_equal(best_density(np.zeros(4)), np.full(4, 0.25))

"""Evaluation's times and noise, and what is made of the values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.losses import Noise
from diffenc_jax.evaluate import draw_noise, format_record, summarize


class Probe:
    """A model that draws noise of no shape: what it is handed can be read off."""

    def draw_noise(self, key, t):
        return Noise(t, jax.random.normal(key, t.shape), jax.random.normal(jax.random.fold_in(key, 1), t.shape))


def handed(indices, number, passes, seed=0):
    return np.asarray(jnp.stack(draw_noise(Probe(), seed, passes, jnp.asarray(indices), jnp.int32(number))))


def test_times_are_spread_over_images_and_passes():
    times = np.stack([handed(np.arange(500), p, 4)[0] for p in range(4)])
    np.testing.assert_allclose(np.diff(np.sort(times, axis=0), axis=0), 0.25, atol=1e-6)
    for row in times:
        # Multiples of the golden ratio leave no gap much longer than the average.
        gaps = np.diff(np.sort(row))
        assert gaps.max() < 3 / 500


def test_each_time_is_uniform_over_seeds():
    times = np.array([handed([7], 1, 3, seed)[0, 0] for seed in range(200)])
    counts, _ = np.histogram(times, bins=4, range=(0, 1))
    assert np.abs(counts - 50).max() < 5 * np.sqrt(50)


def test_an_images_noise_is_its_own_whatever_the_batch():
    alone = handed([100_000], 2, 3)
    among = handed([5, 100_000, 9], 2, 3)
    np.testing.assert_array_equal(alone[:, 0], among[:, 1])
    others = [handed([5], 2, 3), handed([100_000], 1, 3), handed([100_000], 2, 3, seed=1)]
    for other in others:
        assert not np.any(alone[1:] == other[1:])


def test_summary_against_a_by_hand():
    nats = np.arange(3 * 2 * 2, dtype=float).reshape(3, 2, 2) * np.log(2) * 10
    summary = summarize(nats, dims=10)
    assert summary["bpd"] == pytest.approx({"total": 16.5, "reconstruction": 1.5, "latent": 5.5, "diffusion": 9.5})
    # Totals [[12, 15], [18, 21]]: passes 13.5 and 19.5, images 15 and 18.
    assert summary["standard_error"] == pytest.approx({"noise": 3.0, "images": 1.5})
    assert format_record(summary) == "16.5000 ± 3.0000 (noise) ± 1.5000 (images) bits/dim"


def test_one_pass_knows_nothing_of_its_noise():
    summary = summarize(np.ones((3, 1, 4)), dims=10)
    assert summary["standard_error"] == {"noise": None, "images": 0.0}
    assert "noise" not in format_record(summary)

"""The resampled intervals: by hand, against Student's, and how often they cover what they are for."""

import math

import numpy as np
import pytest

from diffenc_jax.evaluation.means import mean_of
from diffenc_jax.lab.stats.bootstrap import bootstrap


def of_seeds(means):
    """Values [S, 2] of two images alike, for what only the seeds are asked about."""
    return np.repeat(np.asarray(means, dtype=float)[:, None], 2, axis=1)


def test_by_hand():
    # Two values 0 and 2 have the resampled means 0, 1, 1 and 2, whose quarters are 0.75 and 1.25: no skewness, so t's.
    # With one degree of freedom at level 0.5 it ends at both values: means of seeds 0.5 and 3.5, of images 1 and 3.
    got = bootstrap(np.array([[0.0, 1.0], [2.0, 5.0]]), level=0.5)
    assert (*got.seeds, *got.images) == pytest.approx((0.5, 3.5, 1, 3))
    assert got.seeds_and_images == pytest.approx((2 - math.hypot(1.5, 1), 2 + math.hypot(1.5, 1)))


def test_the_length_is_students_and_the_skewness_the_resamples():
    # Resampled in 27 ways, 8 means are 0, 12 are 1, 6 are 2 and one is 3: the 97.5 % quantile, the 26.35th, is 2.35.
    (low, high), student = bootstrap(of_seeds([0, 0, 3])).seeds, mean_of(np.array([0.0, 0, 3]))
    assert high - low == pytest.approx(np.ptp(student.interval))
    assert (high - 1) / (1 - low) == pytest.approx(1.35 / 1)


def test_enumerated_and_drawn_resamples_agree():
    values = of_seeds([2.61, 2.64, 2.62, 2.70, 2.63])
    enumerated, drawn = bootstrap(values), bootstrap(values, resamples=3000)
    assert drawn.seeds == pytest.approx(enumerated.seeds, abs=0.003)
    assert drawn.seeds != enumerated.seeds
    assert drawn == bootstrap(values, resamples=3000) != bootstrap(values, resamples=3000, seed=1)


def test_what_is_hard_about_an_image_does_not_average_out_over_seeds():
    images = np.random.default_rng(1).normal(size=200)
    got = bootstrap(np.tile(images, (5, 1)))
    assert got.seeds == pytest.approx((images.mean(),) * 2)
    assert got.images == got.seeds_and_images == pytest.approx(bootstrap(np.tile(images, (2, 1))).images)
    assert np.ptp(got.images) == pytest.approx(np.ptp(mean_of(images).interval))


def test_intervals_over_images_and_both_cover_as_documented():
    """Three seeds and images with heavy tails, as far apart in their means, and something of every seed and image."""
    rng = np.random.default_rng(3)
    seeds, images = 3, 100
    covered = []
    for _ in range(400):
        by_seed = rng.normal(size=(seeds, 1)) * math.sqrt(seeds)
        by_image = rng.standard_t(5, size=images) / math.sqrt(5 / 3) * math.sqrt(images)
        values = by_seed + by_image + 0.3 * rng.normal(size=(seeds, images)) * math.sqrt(seeds * images)
        got = bootstrap(values, resamples=500)
        truths = by_image.mean(), by_seed.mean(), 0
        covered.append([low < truth < high for (low, high), truth in zip(got, truths, strict=True)])
    of_seeds, of_images, of_both = np.mean(covered, axis=0)
    assert of_seeds == pytest.approx(0.95, abs=0.033)  # three standard errors
    assert of_images == pytest.approx(0.95, abs=0.033)
    assert 0.95 < of_both < 0.995

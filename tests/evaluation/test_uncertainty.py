"""Standard errors against known variances: by hand, and in simulated evaluations."""

import math

import numpy as np
import pytest
from scipy import stats

from diffenc_jax.evaluation.uncertainty import difference, means_and_errors, replicates, standard_errors

PASSES, IMAGES, REPEATS = 8, 40, 1000
SPREAD, SLOPE, WHITE = 0.5, 6.0, 0.4
# Of the mean over a replicate's m passes at t = (u + j)/m: slope² var(u)/m² from the times, and the white noise.
PER_REPLICATE = PASSES // 2
NOISE = math.sqrt((SLOPE**2 / (12 * PER_REPLICATE**2) + WHITE**2 / PER_REPLICATE) / 2 / IMAGES)


def test_replicates_are_the_smallest_divisor():
    assert [replicates(passes) for passes in (1, 2, 9, 35, 64)] == [None, 2, 3, 5, 2]


def test_standard_errors_of_two_and_of_three_images_by_hand():
    # Variances over replicates 2 and 8, images' means 2 and 4, which is within the noise.
    noise, images, total = standard_errors(np.array([[1.0, 2.0], [3.0, 6.0]]), 2)
    assert (noise, images, total) == (pytest.approx(math.sqrt((2 + 8) / 2 / 4)), None, noise)
    # Passes 0 and 2 are replicate 0: means 2 and 4 (image 0), 1 and 1 (image 1), 9 and 11 (image 2).
    values = np.array([[0.0, 1, 8], [3, 0, 11], [4, 1, 10], [5, 2, 11]])
    # The images' means 3, 1 and 10 are 5, 11 and 16 thirds off theirs; F of 2 and 2 degrees has the quantile 19.
    noise, total = (2 + 0 + 2) / 2 / 9, (5**2 + 11**2 + 16**2) / 9 / 2 / 3
    assert standard_errors(values, 2) == pytest.approx((math.sqrt(noise), math.sqrt(total - noise), math.sqrt(total)))


def test_errors_that_one_pass_or_image_cannot_tell_are_none():
    values = np.array([[1.0, 2.0, 6.0]])
    assert standard_errors(values, None) == (None, None, pytest.approx(math.sqrt(7 / 3)))
    assert standard_errors(np.array([[1.0], [3.0]]), 2) == (pytest.approx(1.0), None, None)
    assert standard_errors(values[:, :1], None) == (None, None, None)


def test_equal_values_have_no_error_at_all():
    """Their mean is moved by rounding: of three passes, or of 50 images."""
    values = np.random.RandomState(0).normal(size=(1, 50))
    assert standard_errors(np.repeat(values, 3, axis=0), 3).noise == 0.0
    assert standard_errors(np.full((2, 50), values[0, 0]), 2).total == 0.0


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_infinite_values_have_a_mean_and_no_errors():
    """As of a model that has diverged; two of them have no difference."""
    finite = np.array([[1.0, 2.0, 6.0], [1.0, 4.0, 3.0]])
    infinite, both = (np.array([[1.0, 2.0, math.inf], [1.0, 4.0, end]]) for end in (3.0, -math.inf))
    for values in (infinite, both, infinite * math.nan, 1e300 * finite):
        assert standard_errors(values, 2) == (None, None, None)
    means = means_and_errors({"a": infinite, "b": finite, "c": -infinite}, 2)
    assert str(means["bpd"]) == str({"total": math.nan, "a": math.inf, "b": finite.mean().item(), "c": -math.inf})
    assert [name for name, error in means["standard_error"]["terms"].items() if error["total"] is not None] == ["b"]
    for common in (True, False):
        assert difference(infinite, finite, 2, 2, common) == (math.inf, (None, None, None))
        mean, errors = difference(infinite, infinite, 2, 2, common)
        assert (math.isnan(mean), errors) == (True, (None, None, None))


def evaluate(rng, effects, slope=SLOPE):
    """Passes [P, N] of images with noise-free values `effects` + slope/2; t = (u_{r,i} + j)/m in replicate r."""
    u = rng.uniform(size=(1, 2, len(effects)))
    t = (u + np.arange(PER_REPLICATE)[:, None, None]) / PER_REPLICATE
    loss = slope * t + WHITE * rng.normal(size=t.shape)
    return effects + loss.reshape(PASSES, -1)


def test_the_squares_are_unbiased():
    rng = np.random.RandomState(0)
    values = (evaluate(rng, SPREAD * rng.normal(size=IMAGES)) for _ in range(REPEATS))
    noise, images, total = np.square(np.array([standard_errors(each, 2) for each in values], float)).T
    for squares, expected in ((noise, NOISE**2), (total, NOISE**2 + SPREAD**2 / IMAGES)):
        assert squares.mean() == pytest.approx(expected, abs=4 * squares.std() / math.sqrt(REPEATS))
    assert noise.mean() == pytest.approx(NOISE**2, rel=0.03)
    known = ~np.isnan(images)
    assert known.mean() > 0.9
    assert images[known] == pytest.approx((total - noise)[known])


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_what_is_printed_covers_however_little_the_images_differ(spread):
    """The images' spread in units of the noise; their error is printed beside it, or both together if it is unknown."""
    rng = np.random.default_rng(3)
    covered, stated = 0, 0
    for _ in range(REPEATS):
        effects = spread * NOISE * math.sqrt(IMAGES) * rng.normal(size=IMAGES)
        values = evaluate(rng, effects)
        noise, images, total = standard_errors(values, 2)
        assert total >= noise
        stated += images is not None
        error = total if images is None else math.hypot(noise, images)
        low, high = stats.t.interval(0.95, IMAGES - 1, values.mean(), error)
        covered += low < SLOPE / 2 < high
    assert covered / REPEATS > 0.935
    assert (stated / REPEATS < 0.06) == (spread == 0)


def test_common_noise_cancels():
    rng = np.random.RandomState(1)
    effects = rng.normal(size=IMAGES)
    b = evaluate(rng, effects)
    shifts = 0.1 + 0.01 * rng.normal(size=IMAGES)
    got = difference(b + shifts, b, 2, 2, common_noise=True)
    assert got.mean == pytest.approx(shifts.mean())
    assert got.standard_error.noise == pytest.approx(0, abs=1e-12)
    assert got.standard_error.images == pytest.approx(shifts.std(ddof=1) / math.sqrt(IMAGES))
    apart = difference(b + shifts, b, 2, 2, common_noise=False)
    assert apart.mean == pytest.approx(got.mean)
    assert apart.standard_error.noise == pytest.approx(math.sqrt(2) * standard_errors(b, 2).noise)


def test_without_common_noise_the_noises_add_and_images_are_paired():
    a, b = np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([[0.0, 5.0], [1.0, 4.0], [2.0, 6.0]])
    got = difference(a, b, 2, 3, common_noise=False)
    noise = 10 / 2 / 4 + (1 + 1) / 3 / 4
    assert got.mean == pytest.approx(3 - 3)
    # The images' means differ by 1 and -1, less than their noise.
    assert got.standard_error == (pytest.approx(math.sqrt(noise)), None, pytest.approx(math.sqrt(noise)))
    assert difference(a, b[:1], 2, None, common_noise=False).standard_error.noise is None

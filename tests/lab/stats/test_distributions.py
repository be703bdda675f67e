"""Distances of distributions against closed forms, scipy's test, and sets drawn from one and from two distributions."""

import numpy as np
import pytest
import scipy

from diffenc_jax.lab.stats.distributions import auroc, farther, frechet, overlap, rank_sum


def points(mean, covariance, n=50, seed=0):
    """[n, d] whose mean and covariance are exactly these."""
    x = np.random.RandomState(seed).normal(size=(n, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def covariance(d, seed):
    root = np.random.RandomState(seed).normal(size=(d, d))
    return root @ root.T + 0.1 * np.eye(d)


@pytest.mark.parametrize("highest", [1000, 4])  # few ties, many
def test_the_rank_test_is_scipys(highest):
    rng = np.random.RandomState(0)
    a, b = rng.randint(0, highest, 40), rng.randint(0, 1.2 * highest, 70)
    ours = rank_sum(a, b)
    for alternative, p in (("two-sided", 0), ("less", 1), ("greater", 2)):
        theirs = scipy.stats.mannwhitneyu(a, b, False, alternative, method="asymptotic")
        assert (ours.p_two_sided, ours.p_one_sided_less, ours.p_one_sided_greater)[p] == pytest.approx(theirs.pvalue)
    assert ours.statistic == pytest.approx(scipy.stats.norm.ppf(ours.p_one_sided_less))


def test_values_that_are_all_equal_reject_nothing():
    outcome = rank_sum(np.ones(5), np.ones(9))
    assert (outcome.statistic, outcome.p_two_sided, outcome.p_one_sided_less) == (0, 1, 1)


def test_auroc_by_hand():
    """Of 2 x 3 pairs the first value wins 4, and ties in one: placements 1, ½ and 1, ½, 3/4."""
    area, error = auroc(np.array([3.0, 1.0]), np.array([0.0, 2.0, 1.0]))
    assert area == pytest.approx(4.5 / 6)
    assert error == pytest.approx(np.sqrt(np.var([1, 0.5], ddof=1) / 2 + np.var([1, 0.5, 0.75], ddof=1) / 3))
    assert auroc(np.arange(5), 5 + np.arange(3)) == (0.0, 0.0)
    assert auroc(np.ones(3), np.ones(4)) == (0.5, 0.0)
    assert auroc(np.ones(1), np.zeros(4)) == (1.0, None)


@pytest.mark.parametrize("highest", [1000, 4])  # few ties, many
def test_auroc_is_the_rank_tests_share_of_pairs(highest):
    rng = np.random.RandomState(0)
    a, b = rng.randint(0, highest, 40), rng.randint(0, 1.2 * highest, 70)
    assert auroc(a, b).area == pytest.approx(scipy.stats.mannwhitneyu(a, b).statistic / (40 * 70))
    assert auroc(b, a) == pytest.approx((1 - auroc(a, b).area, auroc(a, b).standard_error))


def test_aurocs_error_is_that_of_repeated_samples():
    """Two normal distributions, 1 apart: the area is Φ(1/√2), and intervals cover it in 95 % of 2,000 samples."""
    rng, truth = np.random.RandomState(0), scipy.stats.norm.cdf(np.sqrt(0.5))
    found = [auroc(1 + rng.normal(size=60), rng.normal(size=90)) for _ in range(2000)]
    areas, errors = np.array(found).T
    assert areas.mean() == pytest.approx(truth, abs=4 * areas.std() / np.sqrt(2000))
    assert errors.mean() == pytest.approx(areas.std(), rel=0.05)
    assert 0.93 <= np.mean(np.abs(areas - truth) < 1.96 * errors) <= 0.97


def test_frechet_of_independent_coordinates():
    a = points([0.0, 1.0], np.diag([4.0, 9.0]))
    b = points([3.0, 1.0], np.diag([1.0, 25.0]), n=80, seed=1)
    assert frechet(a, b) == pytest.approx(3**2 + (2 - 1) ** 2 + (3 - 5) ** 2)
    assert frechet(a[:, :1], b[:, :1]) == pytest.approx(3**2 + 1)


def test_frechet_against_the_root_of_a_matrix():
    one, other = covariance(5, 0), covariance(5, 1)
    root = scipy.linalg.sqrtm(one @ other)
    expected = np.trace(one + other - 2 * root.real)
    assert frechet(points(np.zeros(5), one), points(np.zeros(5), other, seed=1)) == pytest.approx(expected)


def test_frechet_of_a_set_and_itself_is_zero_though_a_coordinate_is_constant():
    x = np.random.RandomState(0).normal(size=(30, 4)) * [1, 10, 0, 100]
    assert frechet(x, x) == pytest.approx(0, abs=1e-8)


def test_what_is_farther_is_told_from_what_is_not():
    rng = np.random.RandomState(0)
    draw = lambda n, scale=1.0: rng.normal(size=(n, 3)) * scale  # noqa: E731
    alike = [farther(draw(40), draw(40), draw(60), frechet, resamples=19) for _ in range(60)]
    assert 0.4 < np.mean(alike) < 0.6
    assert np.mean(np.array(alike) <= 0.1) < 0.2
    assert farther(draw(40, 1.8), draw(40), draw(60), frechet, resamples=49) == 0.02
    assert farther(draw(40), draw(40, 1.8), draw(60), frechet, resamples=49) > 0.9


def test_overlap_by_hand():
    """The nearest other points of 0, 1 and 3 are 1, 1 and 2 off; those of the samples 2.5, 2.5, 1 and 1."""
    data, samples = np.array([[0.0], [1.0], [3.0]]), np.array([[-2.0], [0.5], [5.0], [6.0]])
    assert overlap(samples, data, k=1) == (3 / 4, 1.0)
    assert overlap(data, samples, k=1) == (4 / 3, 0.5)


def test_overlap_of_one_distribution(monkeypatch):
    monkeypatch.setattr("diffenc_jax.lab.stats.distributions.CHUNK", 37)
    rng = np.random.RandomState(0)
    found = [overlap(rng.normal(size=(200, 3)), rng.normal(size=(200, 3)), k=3) for _ in range(20)]
    assert np.mean(found, axis=0) == pytest.approx([1, 1 - 1 / 8], abs=0.02)


def test_overlap_tells_lost_modes_from_stray_samples():
    rng = np.random.RandomState(0)
    draw = lambda *centres: np.concatenate([rng.normal(c, 0.1, size=(100, 2)) for c in centres])  # noqa: E731
    data = np.concatenate([draw(0, 5), [[100.0, 100.0]]])  # around the outlier there is room for all
    collapsed, stray = overlap(draw(0), data), overlap(draw(0, 5, 20), data)
    assert collapsed.density == pytest.approx(1, abs=0.25)
    assert collapsed.coverage == pytest.approx(0.5, abs=0.05)
    assert stray.density == pytest.approx(2 / 3, abs=0.1)
    assert stray.coverage > 0.9

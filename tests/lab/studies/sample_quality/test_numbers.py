"""Statistics of images: by hand, against other ways to compute them, and on the digits."""

import numpy as np
import pytest

from diffenc_jax.data.dataset import load_dataset, load_labels
from diffenc_jax.lab.studies.sample_quality import classes, features, figure, neighbours, pixels
from tests import tiny


def images(count, shape=(4, 4, 1), levels=256, seed=0):
    return np.random.RandomState(seed).randint(0, levels, (count, *shape)).astype(np.uint8)


def test_the_nearest_training_image(monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", 7)
    train, samples = images(30, seed=1), images(9)
    found = neighbours.nearest(samples, train)
    distances = np.sqrt(((samples[:, None].astype(float) - train) ** 2).sum(axis=(2, 3, 4)))
    np.testing.assert_allclose(found.distances, distances.min(axis=1))
    np.testing.assert_array_equal(found.numbers, distances.argmin(axis=1))
    assert found.quantiles["0.5"] == pytest.approx(np.median(distances.min(axis=1)))


def test_copies_are_at_zero_exactly_and_next_to_copies_are_not():
    train = images(50, (32, 32, 3), levels=2) + 254  # the longest vectors there are
    samples = train[[3, 40, 7, 7]].copy()
    samples[1, 5, 5, 1] ^= 1
    found = neighbours.nearest(samples, train)
    assert found.distances.tolist() == [0, 1, 0, 0]
    assert found.numbers.tolist() == [3, 40, 7, 7]
    assert found.copies == 0.75


def test_copying_is_told_from_real_and_from_far():
    rng = np.random.RandomState(0)
    of = lambda d: neighbours.Neighbours(d, np.zeros(len(d), int))  # noqa: E731
    unseen, alike = of(rng.gamma(9, size=300)), of(rng.gamma(9, size=200))
    assert abs(neighbours.copying(alike, unseen).statistic) < 2
    assert neighbours.copying(of(unseen.distances * 0.5), unseen).statistic < -10
    assert neighbours.copying(of(unseen.distances * 2), unseen).statistic > 10
    assert neighbours.near(alike, unseen) == pytest.approx(neighbours.NEAR, abs=0.04)
    # A tenth of copies hides from the ranks, and not from this.
    some = of(np.concatenate([np.zeros(20), alike.distances[20:] * 1.1]))
    assert abs(neighbours.copying(some, unseen).statistic) < 2
    assert neighbours.near(some, unseen) > 0.1


def test_differences_of_pixels_by_hand():
    """Pixel one is 3 here and 5 there; pixel two is 0 or 4 here, and always 2 there."""
    a = np.array([[[[3], [0]]], [[[3], [4]]]], np.uint8)
    b = np.array([[[[5], [2]]]] * 3, np.uint8)
    found = pixels.pixel_differences(a, b, levels=8)
    assert found == pytest.approx((np.sqrt(2), np.sqrt(2), 2.0))
    assert pixels.pixel_differences(a, a[::-1], levels=8) == (0, 0, 0)


def correlated(count, r, seed, width=2):
    """[count, 1, width, 1], a walk along the row whose neighbours have correlation r."""
    rng = np.random.RandomState(seed)
    x = rng.normal(size=(count, width))
    for i in range(1, width):
        x[:, i] = r * x[:, i - 1] + np.sqrt(1 - r**2) * x[:, i]
    return np.clip(128 + 25 * x, 0, 255).astype(np.uint8)[:, None, :, None]


def test_correlation_of_two_pixels_is_pearsons(monkeypatch):
    monkeypatch.setattr(pixels, "CHUNK", 300)
    x = correlated(2000, 0.6, seed=0)
    found = pixels.correlations(x)
    assert list(found) == ["horizontal"]
    assert found["horizontal"].value == pytest.approx(np.corrcoef(x[:, 0, 0, 0], x[:, 0, 1, 0])[0, 1])
    assert found["horizontal"].error == pytest.approx((1 - 0.6**2) / np.sqrt(2000), rel=0.1)  # of normal values


def test_the_error_of_a_correlation_is_its_spread():
    found = [pixels.correlations(correlated(150, 0.7, seed, width=8))["horizontal"] for seed in range(300)]
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(0.7, abs=0.01)
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


def test_every_axis_has_its_own_correlation():
    x = images(400, (5, 5, 3))
    x[:, :, :, 1] = x[:, :, :, 0]
    x[:, 1:] = np.where(np.arange(4)[:, None, None] % 2, x[:, 1:], 255 - x[:, :-1])
    found = pixels.correlations(x)
    assert found["channels"].value > 0.4
    assert found["vertical"].value < -0.3
    assert abs(found["horizontal"].value) < 4 * found["horizontal"].error
    assert pixels.correlations(np.ones((5, 2, 2, 1), np.uint8))["vertical"] == (0, 0)


def test_few_dimensions_are_kept_whole():
    train, samples = images(100), images(5, seed=1)
    space = features.principal_components(train)
    (a, b), (c, d) = space(samples[:2]), samples[:2].astype(float)
    assert np.linalg.norm(a - b) == pytest.approx(np.linalg.norm(c - d), rel=1e-4)
    assert space(train).std(axis=0)[0] == max(space(train).std(axis=0))


def test_some_are_the_same_ones_each_time():
    x, y = np.arange(100), np.arange(100) * 2
    chosen = features.subset(x, 30)
    assert len(set(chosen)) == 30
    np.testing.assert_array_equal(features.subset(y, 30), 2 * chosen)
    np.testing.assert_array_equal(features.subset(x, 100), x)


def test_a_classifier_of_the_digits():
    config = tiny.config()
    splits = load_dataset(config.data, "train", "test").splits
    classifier = classes.train_classifier(splits["train"], load_labels(config.data, "train"))
    test, known = splits["test"], load_labels(config.data, "test")
    real = classes.predict(classifier, test, test, known)
    assert real.accuracy > 0.98
    assert (real.p_shares, real.confident.statistic) == (1, 0)
    noise = classes.predict(classifier, images(300, (8, 8, 1), 17), test, known)
    assert noise.confidence < 0.5 < 0.95 < noise.confidence_unseen
    assert noise.confident.statistic < -15
    threes = classes.predict(classifier, test[known == 3], test, known)
    assert threes.shares[3] > 0.9
    assert threes.p_shares < 1e-6
    assert sum(threes.shares) == pytest.approx(1)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pairs_show_every_image(channels):
    count, columns, gap = 14, figure.COLUMNS, figure.GAP
    above, below = images(count, (2, 4, channels), 17), images(count, (2, 4, channels), 17, seed=1)
    shown = figure.draw_pairs(above, below, pixel_levels=17)
    shown = shown if shown.ndim == 3 else shown[..., None]
    bands = 2 if channels == 2 else 1  # two channels lie side by side
    height, width = 2 * (2 + 2 * gap) + 1, bands * (4 + 2 * gap) + 1  # of a pair, with the line after it
    for i in range(count):
        row, column = divmod(i, columns)
        for band in range(bands):
            left = column * width + band * (4 + 2 * gap) + gap
            for image, top in ((above[i], row * height + gap), (below[i], row * height + 2 + 3 * gap)):
                grey = np.round(image * (255 / 16)).astype(np.uint8)[..., band : band + 3 - 2 * (channels < 3)]
                np.testing.assert_array_equal(shown[top : top + 2, left : left + 4], grey)
    assert (shown[height:, 2 * width :] == 255).all()

"""Calibration by hand."""

import numpy as np
import pytest

from diffenc_jax.lab.stats.calibration import calibration_error, log_score, posterior, reliability

NATS = np.array([[1.0, 1.0 + np.log(3)], [700.0, 0.0], [5.0, 5.0]])


def test_probabilities_of_equally_probable_classes():
    np.testing.assert_allclose(posterior(NATS), [[0.75, 0.25], [0.0, 1.0], [0.5, 0.5]], atol=1e-12)
    np.testing.assert_allclose(log_score(NATS, np.array([0, 0, 1])), [-np.log(0.75), 700.0, np.log(2)])


def test_bins_by_hand():
    probabilities = np.array([[0.75, 0.25], [0.8, 0.2], [0.3, 0.7], [0.05, 0.95], [1.0, 0.0]])
    bins = reliability(probabilities, np.array([0, 1, 1, 1, 1]), bins=4)
    assert [row["images"] for row in bins] == [2, 3]  # 0.75 is the upper end of its bin; two bins have no images
    assert (bins[0]["accuracy"], bins[0]["confidence"]) == pytest.approx((1.0, 0.725))
    z2 = 1.959964**2
    assert (bins[0]["accuracy_low"], bins[0]["accuracy_high"]) == pytest.approx((1 / (1 + z2 / 2), 1.0))  # 2 of 2 right
    assert (bins[1]["accuracy"], bins[1]["confidence"]) == pytest.approx((1 / 3, 2.75 / 3))
    middle, half = (1 / 3 + z2 / 6) / (1 + z2 / 3), np.sqrt(z2 * (2 / 27 + z2 / 36)) / (1 + z2 / 3)
    assert (bins[1]["accuracy_low"], bins[1]["accuracy_high"]) == pytest.approx((middle - half, middle + half))
    assert calibration_error(bins) == pytest.approx((2 * 0.275 + 3 * (2.75 - 1) / 3) / 5)

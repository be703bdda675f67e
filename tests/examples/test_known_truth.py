"""examples/known_truth: probabilities that sum to one, and draws with exact moments."""

import importlib
import json
import os

import numpy as np
import pytest

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.dataset import load_dataset
from tests import ROOT

PACKAGE = "known_truth"
SMALL = {"ising": (4, 2), "mesh": (2, 16)}  # sides and pixel levels of which all images can be listed


@pytest.fixture(params=SMALL)
def world(request):
    """A module, all images of a small side, and their probabilities."""
    module, (side, levels) = importlib.import_module(f"known_truth.{request.param}"), SMALL[request.param]
    numbers = np.indices((levels,) * side**2, dtype=np.uint8).reshape(side**2, -1).T
    images = numbers.reshape(-1, side, side, 1)
    return module, images, np.exp(module.log_prob(images))


def test_probabilities_sum_to_one_and_draws_have_their_moments(world, monkeypatch):
    """Entropy, and products of a pixel with those beside it and across, of draws of each kind."""
    module, images, p = world
    assert p.sum() == pytest.approx(1.0, abs=1e-12)

    def features(images):
        pixels = images[..., 0].astype(float)
        products = [pixels[:, 0, 0] * pixels[:, i, j] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))]
        return np.stack([*products, module.log_prob(images)])

    for longest in (10, 3):  # by transfer matrices, and by coupling from the past
        monkeypatch.setattr(module, "LONGEST_ROW", longest, raising=False)
        drawn = features(module.draw(np.random.default_rng(0), images.shape[1], 4000))
        np.testing.assert_array_less(np.abs(drawn.mean(1) - features(images) @ p), 4 * drawn.std(1) / np.sqrt(4000))


def test_the_partition_function_and_the_entropy_are_those_of_transfer_matrices(monkeypatch):
    """The entropy is ln Z - b d ln Z / db."""
    ising = importlib.import_module("known_truth.ising")
    critical = ising.COUPLING

    def log_trace(side, change=0.0):
        monkeypatch.setattr(ising, "COUPLING", critical + change)
        return np.log(np.trace(np.linalg.matrix_power(ising.transfer_matrix(side), side)))

    for side in range(3, 9):
        derivative = (log_trace(side, 1e-5) - log_trace(side, -1e-5)) / 2e-5
        expected = log_trace(side)
        assert ising.log_partition(side) == pytest.approx(expected, rel=1e-13)
        assert ising.entropy(side) == pytest.approx(expected - critical * derivative, rel=1e-7)


@pytest.mark.parametrize("side", [8, 16])
def test_the_results_name_the_entropy(side):
    bits = importlib.import_module("known_truth.ising").entropy(side) / (side**2 * np.log(2))
    (step,) = json.loads((ROOT / f"docs/results/ising-{side}-parts.json").read_text())["steps"]
    assert step["tables"][0]["caption"].endswith(f"The entropy of their distribution is {bits:.4f} bits/dim.")


def test_images_are_drawn_once(announced, tmp_path, monkeypatch):
    sources = importlib.import_module("known_truth.sources")
    monkeypatch.setattr(sources, "SIZES", {"train": 60, "test": 40})
    config = DataConfig("mesh:4", pixel_levels=16, dir=str(tmp_path / "kept"))
    first = load_dataset(config, "train", "test")
    monkeypatch.setattr(sources.mesh, "draw", None)
    again = load_dataset(config, "train", "test")
    for split, count in sources.SIZES.items():
        assert len(first.split(split).data) == count
        np.testing.assert_array_equal(first.split(split).data, again.split(split).data)
        assert again.split(split).fingerprint["true_bpd"] == pytest.approx(2.1, abs=0.3)
    os.truncate(tmp_path / "kept/mesh-4-test.npy", 500)
    with pytest.raises(InputError, match=r"mesh-4-test\.npy: .*; delete it, and its images are drawn again"):
        load_dataset(config, "test")


REFUSED = {
    "ising": "data.source=ising: give ising:SIDE",
    "ising:11": "data.source=ising:SIDE needs a side from 3 to 10, or an even one up to 32, not '11'",
    "ising:08": "needs a side from 3 to 10, or an even one up to 32, not '08'",
    "mesh:-1": "needs a side from 2 to 64, not '-1'",
    f"mesh:{'9' * 5000}": f"needs a side from 2 to 64, not '{'9' * 20}'",
    "digits:8": "data.source=digits:8: give digits alone",
}


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: name[:20])
def test_other_sides_are_refused(announced, name):
    with pytest.raises(InputError) as error:
        load_dataset(DataConfig(name, pixel_levels=17), "test")
    assert REFUSED[name] in str(error.value)

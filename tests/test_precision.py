"""benchmarks/precision.py: rounding a part of the network changes the likelihood that it prints."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from diffenc_jax.runs.trained import open_trained
from tests import tiny
from tests.lab.studies.runs import write_images, write_run


@pytest.mark.slow
def test_each_part_is_rounded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    precision = importlib.import_module("precision")
    images = write_images(tmp_path / "images.npz")
    run = open_trained(write_run(tmp_path / "run", images, model__score=tiny.SCORE_NETWORKS["unet"]))
    found = {}
    for name, lowered in precision.PARTS.items():
        with lowered():
            found[name] = precision.bits(run, "bfloat16", passes=1)
    nothing = found.pop("nothing more")
    assert [name for name, bits in found.items() if np.array_equal(bits, nothing)] == []
    np.testing.assert_array_equal(precision.bits(run, "bfloat16", passes=1), nothing)

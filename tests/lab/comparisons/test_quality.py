"""Bits/dim by the cost of trainings."""

import json

import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.lab.comparisons import quality
from tests import tiny


def test_arms_are_trained_in_turn_and_compared_with_the_first(tmp_path, monkeypatch, capsys):
    """An arm beside itself in half of the steps, on training images that are held out; a second call only reads."""
    images, config = tiny.images(40), tmp_path / "tiny.py"
    np.savez(tmp_path / "images.npz", train=images[:32], test=images[32:])
    config.write_text(tiny.file(data__source=str(tmp_path / "images.npz"), train__steps=4, train__batch_size=8))
    arms = ["vdm", "vdm train.steps=2"]
    command = ["time-to-quality", f"--config={config}", f"--out={tmp_path}", "--held-out=8", "--seeds=0"]
    command += [f"--arm={arm}" for arm in arms]
    assert main(command) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "seed0.json").read_text())
    assert [found[arm]["steps"] for arm in arms] == [4, 2]
    assert found[arms[0]]["FLOPs"] == 2 * found[arms[1]]["FLOPs"]
    held_out = np.load(tmp_path / "held-out-8.npz")
    np.testing.assert_array_equal(held_out["test"], images[24:32])
    np.testing.assert_array_equal(held_out["train"], images[:24])
    row = next(line for line in printed.splitlines() if "`vdm train.steps=2`" in line)
    bits, mean, steps, _, _, flops = (cell.strip() for cell in row.strip("| ").split("|")[1:])
    assert bits == mean == f"{found[arms[1]]['bpd']:.4f}"
    assert (steps, flops) == ("2", "0.500")
    monkeypatch.setattr(quality, "trained", lambda configs: pytest.fail("it trains again"))
    assert main(command) == 0
    assert capsys.readouterr().out == printed
    assert main([*command, "--arm=diffenc"]) == 2
    assert "seed0.json is of other arms; choose another --out" in capsys.readouterr().err

"""The command prints what it writes, and bad input ends in one line on standard error, exit code 2."""

import json

import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.core import versions
from tests.refusals import refused

DIGITS = "--config=configs/digits.py:vdm"


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    path = tmp_path / "costs" / "vdm.json"
    changes = ("--config.model.score.layers=1", "--config.train.batch_size=8")
    assert main(["costs", DIGITS, *changes, "--steps=3", f"--json={path}"]) == 0
    costs = json.loads(path.read_text())
    assert (costs["config"], costs["arm"], costs["batch_size"], costs["timed_steps"]) == ("digits", "vdm", 8, 3)
    assert costs["train_flops"] == 1500 * costs["flops_per_step"]
    title, params, flops, memory, seconds = capsys.readouterr().out.splitlines()
    assert title == f"digits, vdm: batch 8, float32, {versions.device()}"
    assert params == f"parameters: {costs['params']:,} (schedule 0, score {costs['params']:,})"
    assert flops == f"FLOPs: {costs['flops_per_step']:.4g} per step, {costs['train_flops']:.4g} in 1,500 steps"
    assert memory.startswith(f"memory: {costs['memory_per_step'] / 1e6:.1f} MB per device")
    assert seconds.startswith(f"time: {costs['seconds_per_step']:.4g} s per step (median of 3, ")
    assert [left.name for left in path.parent.iterdir()] == ["vdm.json"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--json=README.md/cost.json", "--json=README.md/cost.json cannot be written: File exists"),
        ("--json=tests", "--json=tests is a folder; name a file"),
        ("--config.train.stepz=1", "train.stepz"),
        ("--config.train.batch_size=0", "train.batch_size"),
        ("--steps=0", "is not a whole number above zero"),
        ("--workdir=runs/a", "unrecognized arguments: --workdir=runs/a"),
    ],
)
def test_bad_input_is_refused(option, message, capsys):
    assert message in refused(main, ["costs", DIGITS, option], capsys)

"""The command: what it prints is what it writes, and bad input ends in one line on standard error, exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DIGITS = "--config=configs/digits.py:vdm"


def run(*args):
    command = [sys.executable, "-m", "diffenc_jax.costs", *args]
    quickly_compiled = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    return subprocess.run(command, cwd=ROOT, env=quickly_compiled, capture_output=True, text=True, timeout=300)


def test_the_command(tmp_path):
    path = tmp_path / "costs" / "vdm.json"
    done = run(DIGITS, "--config.model.score.layers=1", "--config.train.batch_size=8", "--steps=3", f"--json={path}")
    assert done.returncode == 0, done.stderr
    cost = json.loads(path.read_text())
    assert (cost["config"], cost["arm"], cost["batch_size"], cost["timed_steps"]) == ("digits", "vdm", 8, 3)
    assert cost["train_flops"] == 1500 * cost["flops_per_step"]
    title, params, flops, memory, seconds = done.stdout.splitlines()
    assert title == "digits, vdm: batch 8, float32, 1 x cpu"
    assert params == f"parameters: {cost['params']:,} (schedule 0, score {cost['params']:,})"
    assert flops == f"FLOPs: {cost['flops_per_step']:.4g} a step, {cost['train_flops']:.4g} in 1,500 steps"
    assert memory.startswith(f"memory: {cost['memory_per_step'] / 1e6:.1f} MB a device")
    assert seconds.startswith(f"time: {cost['seconds_per_step']:.4g} s a step (median of 3, ")
    assert [left.name for left in path.parent.iterdir()] == ["vdm.json"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--json=README.md/cost.json"], "--json=README.md/cost.json cannot be written: File exists"),
        (["--json=tests"], "--json=tests is a folder; name a file"),
        (["--config.train.stepz=1"], "unknown configuration key 'train.stepz'; known: train.accumulate, train.b1"),
        (["--config.train.batch_size=0"], "train.batch_size=0 does not divide over 1 devices"),
        (["--steps=0"], "flag --steps=0: 0 is not a positive integer"),
        (["--workdir=runs/a"], "--workdir is not read"),
    ],
)
def test_bad_input_is_said_in_one_line(args, message):
    done = run(DIGITS, *args)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not done.stdout

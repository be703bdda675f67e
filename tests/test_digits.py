"""The demonstration, whole: `python -m diffenc_jax.main --config=configs/digits.py`."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.logs import logged

ROOT = Path(__file__).parent.parent


def start(workdir, *args):
    command = [sys.executable, "-m", "diffenc_jax.main", "--config=configs/digits.py", f"--workdir={workdir}", *args]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.long
@pytest.mark.slow
def test_reaches_two_bits_a_dimension(tmp_path):
    run = start(tmp_path / "run")
    said, _ = run.communicate(timeout=1800)
    assert run.returncode == 0, said
    record = json.loads((tmp_path / "run" / "eval" / "test-1500-continuous.json").read_text())
    assert record["bpd"]["total"] < 2.0
    assert record["dataset"]["num_examples"] == 297
    for part in ("reconstruction", "latent", "diffusion", "per-pixel histogram", "uniform, log2 17", "4.0875"):
        assert part in said
    assert f"samples: {tmp_path}/run/samples/1500-depth250-seed0.png" in said
    rounded = start(tmp_path / "run", "--mode=eval", "--config.eval.dtype=bfloat16")
    said, _ = rounded.communicate(timeout=1800)
    assert rounded.returncode == 0, said
    path = tmp_path / "run" / "eval" / "test-1500-continuous-bfloat16.json"
    assert json.loads(path.read_text())["bpd"]["total"] == pytest.approx(record["bpd"]["total"], abs=0.002)


@pytest.mark.long
@pytest.mark.slow
def test_killed_without_warning_it_goes_on_bit_for_bit(tmp_path):
    """kill -9 amid an epoch and between two checkpoints."""
    few = ["--config.train.steps=40", "--config.checkpoint.every_steps=12", "--config.log.every_steps=10"]
    few += ["--config.eval.passes=1", "--config.sample.depth=2"]
    whole = start(tmp_path / "whole", *few)
    assert whole.wait(timeout=600) == 0
    broken = start(tmp_path / "broken", *few)
    while not (tmp_path / "broken" / "checkpoints" / "12").exists():  # it is written while steps go on
        assert broken.poll() is None
        time.sleep(0.02)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    again = start(tmp_path / "broken", *few)
    said, _ = again.communicate(timeout=600)
    assert again.returncode == 0, said
    assert re.search("going on from step (12|24|36) ", said), said
    assert logged(tmp_path / "broken") == logged(tmp_path / "whole")

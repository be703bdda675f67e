"""The demonstration as a user starts it: `python -m diffenc_jax.main --config=configs/digits.py`."""

import json

import pytest

from diffenc_jax.runs.stored import StoredRun
from tests.processes import python


def run(workdir, *args):
    """Run the demonstration."""
    command = ["-m", "diffenc_jax.main", "--config=configs/digits.py", f"--workdir={workdir}"]
    python(*command, *args, timeout=1800)


@pytest.mark.long
@pytest.mark.slow
def test_reaches_two_bits_per_dimension(tmp_path):
    run(tmp_path / "run")
    record = StoredRun(tmp_path / "run").last_record()[1]
    assert record["step"] == 1500
    assert record["bpd"]["total"] < 2.0
    assert record["dataset"]["num_examples"] == 297
    run(tmp_path / "run", "--mode=eval", "--config.eval.dtype=bfloat16")
    (path,) = (tmp_path / "run" / "eval").glob("*bfloat16*.json")
    assert json.loads(path.read_text())["bpd"]["total"] == pytest.approx(record["bpd"]["total"], abs=0.002)

"""The timing benchmarks say what they measured in one line, and compare it with an earlier one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = [
    *("--config.model.score.width=32", "--config.model.score.layers=1", "--config.model.score.mid_groups=8"),
    *("--config.model.score.groups=8", "--config.model.score.out_groups=8", "--config.train.batch_size=4"),
]


def run(name, *arguments):
    command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", f"--config={ROOT}/configs/digits.py:vdm", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def record(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_records_are_kept_and_compared(tmp_path):
    """The ratio is to the last line of the baseline, which need not be of this benchmark."""
    file = tmp_path / "records.jsonl"
    first = record(run("input", "--batches=5", f"--json={file}"))
    assert [json.loads(line) for line in file.read_text().splitlines()] == [first]
    lower, upper = first["images_per_second_quartiles"]
    assert 0 < lower <= first["images_per_second"] <= upper
    with file.open("a") as lines:
        lines.write(json.dumps({"images_per_second": 1000.0, "batches": 5}) + "\n")
    again = run("input", "--batches=5", f"--baseline={file}")
    rate = record(again)["images_per_second"]
    assert again.stderr.splitlines()[-1] == f"images_per_second: {rate:.4g} / 1000 = {rate / 1000:.3f}"
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baseline={}/none.jsonl"], "--baseline={}/none.jsonl has no record: "),
        (["--baseline={}/empty.jsonl"], "--baseline={}/empty.jsonl has no record: "),
        (["--json={}"], "--json={}"),
        (["--config.train.batch_size=0"], "train.batch_size=0 does not divide over 1 devices"),
    ],
)
def test_refused(tmp_path, arguments, message):
    (tmp_path / "empty.jsonl").touch()
    done = run("input", *(argument.format(tmp_path) for argument in arguments))
    assert done.returncode == 2
    assert message.format(tmp_path) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


@pytest.mark.slow
def test_a_training_step():
    found = record(run("train_step", *SMALL, "--steps=3"))
    assert found["timed_steps"] == 3
    assert found["batch_size"] == 4
    rate = found["matmul_share"] * found["step_seconds"] * found["matmul_flops_per_second"]
    assert rate == pytest.approx(found["flops_per_step"])
    assert found["state_bytes"] + found["temporary_bytes"] < found["peak_bytes"]


@pytest.mark.slow
def test_inference_compiles_the_networks_once():
    found = record(run("inference", *SMALL, "--looks=2", "--config.sample.depth=3"))
    assert found["programs_later"] == 0
    assert found["sampling_programs"] == found["forward_programs"] == 1
    for name in ("evaluation", "sampling"):
        assert found[f"{name}_share"] == found[f"{name}_seconds"] / found["forward_seconds"]

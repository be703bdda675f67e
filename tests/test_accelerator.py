"""benchmarks/accelerator.py: every measurement has a row, whatever fails and however short the time is."""

import json

import accelerator
import budget
import jax
import measurements
import published
import pytest

from diffenc_jax.__main__ import execute
from diffenc_jax.parallel.sharding import make_mesh

OUT_OF_MEMORY = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 96.5GiB.\nmore")
VALUES = {
    "step": {
        **{"trace_seconds": 1.0, "compile_seconds": 20.0, "step_seconds": 0.05, "images_per_second": 2560.0},
        **{"utilisation": 0.427, "state_bytes": 2**30, "temporary_bytes": 2**31, "peak_bytes": None},
    },
    "published": {"compile_seconds": 30.0, "step_seconds": 0.1, "float32": 0.6, "bfloat16": None},
    "rate": {"first_seconds": 9.0, "batch_seconds": 0.01, "images_per_second": 12800.0},
    "dtypes": {
        **{"steps": 1500, "bpd": dict.fromkeys("abcd", 1.85), "excess_of_training": 0.0012},
        "excess_of_evaluation": -0.0003,
    },
    "repeat": {"steps": 10, "bit_for_bit": False, "arrays": 9, "different_arrays": 2, "largest_difference": 1e-7},
}


class Fake:
    """Measurements that return VALUES at once; the training steps with remat=block fail."""

    def __getattr__(self, name):
        return lambda *_: VALUES[name]

    def step(self, arm, dtype, changes):
        if changes.get("model.remat") == "block":
            raise OUT_OF_MEMORY
        return VALUES["step"]


def test_a_failed_measurement_is_a_row_and_the_rest_goes_on(monkeypatch, tmp_path, capsys):
    file = tmp_path / "record.json"
    monkeypatch.setattr(accelerator, "Bench", lambda *_: Fake())
    # A collection takes seconds in a process that has compiled much.
    monkeypatch.setattr(budget.gc, "collect", lambda: 0)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    monkeypatch.setattr(published, "check_checkout", lambda *_: None)
    assert execute(accelerator, "accelerator.py", [f"--json={file}", "--diffenc=checkout"]) == 0
    rows = {row["name"]: row for row in json.loads(file.read_text())["measurements"]}
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    assert failed == {f"step {arm} bfloat16 remat=block" for arm in ("vdm-8", "vdm", "diffenc")}
    assert {row["status"] for name, row in rows.items() if name not in failed} == {"measured"}
    out_of_memory = "out of memory: 96.50 GiB or more are needed"
    assert rows["step diffenc bfloat16 remat=block"]["reason"] == out_of_memory
    out = capsys.readouterr().out
    lines = {" ".join(line.replace("|", " ").split()) for line in out.splitlines()}
    assert "step vdm-8 bfloat16 1.0 + 20.0 50 2560 42.7 % 3.00 –" in lines
    assert "published vdm-8 float32 30.0 100 0.6 –" in lines
    assert "dtypes seed 0 1500 1.8500 1.8500 1.8500 1.8500 +0.0012 -0.0003" in lines
    assert "repeat diffenc bfloat16 10 no 2 of 9 1e-07" in lines
    assert f"step diffenc bfloat16 remat=block failed {out_of_memory}" in lines


def test_what_does_not_fit_the_time_is_left_out():
    """By the ratio of the time that measurements took to the expected one; shorter ones behind it still are made."""
    now = [0.0]

    def takes(seconds, error=None):
        def measure():
            now[0] += seconds
            if error is not None:
                raise error
            return {"value": seconds}

        return measure

    planned = [
        budget.Measurement("first", "a", 10, takes(20)),
        budget.Measurement("failed", "a", 10, takes(5, ValueError("wrong\nmore"))),
        budget.Measurement("too long", "a", 40, takes(80)),
        budget.Measurement("short", "b", 20, takes(70)),
        budget.Measurement("late", "b", 2, takes(1)),
    ]
    rows = list(budget.within(100, planned, clock=lambda: now[0]))
    keys = "name", "kind", "status", "seconds", "expected_seconds", "value", "reason"
    assert [tuple(map(row.get, keys)) for row in rows] == [
        ("first", "a", "measured", 20, None, 20, None),
        ("failed", "a", "failed", 5, None, None, "ValueError: wrong"),
        ("too long", "a", "left out", None, 80, None, "about 80 s are needed, and 75 s are left"),
        ("short", "b", "measured", 70, None, 70, None),
        ("late", "b", "left out", None, 6, None, "about 6 s are needed, and 5 s are left"),
    ]


@pytest.mark.slow
def test_measurements_of_small_networks():
    """The values of each kind, as the program has them with --small."""
    bench = measurements.Bench(make_mesh(), measurements.SMALL, peak=1e12)
    with pytest.raises(ValueError, match="the step of vdm in bfloat16 was not compiled"):
        bench.repeat("vdm", "bfloat16")
    step = bench.step("vdm", "bfloat16", {})
    assert step["timed_steps"] <= 2
    lower, upper = step["step_seconds_quartiles"]
    assert 0 < lower <= step["step_seconds"] <= upper
    assert step["images_per_second"] == pytest.approx(8 / step["step_seconds"])
    assert step["utilisation"] == pytest.approx(step["flops_per_step"] / step["step_seconds"] / 1e12)
    assert bench.step("vdm", "float32", {"model.remat": "block"})["flops_per_step"] == step["flops_per_step"]
    assert bench.repeat("vdm", "bfloat16")["bit_for_bit"]  # CPUs are deterministic
    sampling = bench.rate("sampling", "vdm", "bfloat16")
    assert sampling["images_per_second"] == pytest.approx(8 / sampling["batch_seconds"])
    assert bench.rate("evaluation", "vdm", "float32")["images_per_second"] > 0

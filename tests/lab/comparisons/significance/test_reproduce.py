"""The command: made-up runs, and two machines of which one dies."""

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.lab.comparisons.significance.published import COMPARISONS, Published, Reproduction
from diffenc_jax.runs import storage
from diffenc_jax.runs.stored import StoredRun
from tests import processes
from tests.bucket import Faults
from tests.lab.comparisons.significance import made_up
from tests.xla_flags import QUICKLY_COMPILED

SEEDS, STEPS = 3, 1500
DIGITS = Reproduction("digits", SEEDS, STEPS, {"vdm": Published(1.85, 0.01), "diffenc": Published(1.80)})


def test_without_a_name_it_lists_the_comparisons(capsys):
    assert main(["reproduce"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMPARISONS)
    row = "cifar10-large diffenc-published 3 8,000,000 2.62 ± 0.006"
    assert row in [" ".join(line.replace("|", " ").split()) for line in printed.splitlines()]


@pytest.mark.slow
def test_made_up_runs_in_a_bucket_stand_beside_the_published_ones(made_up_runs, bucket, capsys, monkeypatch):
    monkeypatch.setitem(COMPARISONS, "digits", DIGITS)
    root = bucket.folder
    for arm in DIGITS.arms:
        storage.write(root / "costs" / f"{arm}.json", json.dumps(made_up.COST).encode())
        for seed in range(SEEDS):
            if (arm, seed) != ("diffenc", 2):
                made_up.write(root, arm, seed, made_up.values(arm, seed, passes=8))
    assert main(["reproduce", "digits", f"--root={root}"]) == 0
    printed = capsys.readouterr().out
    assert "1 of 6 runs to be made" in printed
    assert storage.read(root / "logs" / "diffenc-seed2.log") == b"made up\n"
    content = json.loads(storage.read(root / "significance.json"))
    assert content["missing"] == []
    page = storage.read(root / "significance.md").decode()
    assert "## Beside the published figures of digits\n" in page
    assert storage.exists(root / "values.png")

    assert main(["significance", "report", f"--root={root}"]) == 0
    assert storage.read(root / "significance.md").decode() == page
    assert not storage.exists(root / "earlier")


# The comparison with the sizes of the digits: a run takes seconds.
SMALL = {
    "data.source": "digits",
    "data.pixel_levels": 17,
    "model.score.width": 32,
    "model.score.layers": 1,
    **{f"model.score.{name}": 8 for name in ("groups", "mid_groups", "out_groups")},
    "train.steps": 40,
    "train.batch_size": 8,
    "train.warmup_steps": 2,
    "checkpoint.every_steps": 10,
    "log.every_steps": 10,
    "log.samples": 0,
    "eval.passes": 2,
    "eval.batch_size": 297,
}


def kill_machine(process):
    """Kill a command and all that it has started, at once."""
    if process.poll() is None:
        threads = Path(f"/proc/{process.pid}/task").glob("*/children")
        for number in [process.pid, *(int(child) for thread in threads for child in thread.read_text().split())]:
            os.kill(number, signal.SIGKILL)
        process.wait()


@pytest.mark.long
@pytest.mark.slow
def test_two_machines_share_the_runs_and_one_dies(bucket, tmp_path):
    root, name, small = bucket.folder, "cifar10-nontrainable", [f"--config.{key}={n}" for key, n in SMALL.items()]
    comparison = COMPARISONS[name]
    bucket.faults = Faults(share=0.01)
    with ExitStack() as stack:
        outputs = [stack.enter_context((tmp_path / name).open("w")) for name in ("a.txt", "b.txt")]
        command = ["-m", "diffenc_jax", "reproduce", name, f"--root={root}", *small]
        flags = {"XLA_FLAGS": QUICKLY_COMPILED}
        machines = [processes.start(*command, stdout=output, stderr=output, **flags) for output in outputs]
        for machine in machines:
            stack.callback(kill_machine, machine)
        first = root / f"{comparison.reference}-seed0"
        # So that the checkpoint of step 10 is complete.
        processes.wait_until(lambda: 20 in StoredRun(first).steps(), *machines, pause=0.2)
        begun = "vdm-8-published, seed 0: begun" in (tmp_path / "a.txt").read_text()
        dies, lives = machines if begun else machines[::-1]
        kill_machine(dies)
        assert lives.wait(timeout=1200) == 0
    printed = (tmp_path / ("b.txt" if begun else "a.txt")).read_text()
    assert "vdm-8-published, seed 0: another process works on it" in printed
    content = json.loads(storage.read(root / "significance.json"))
    assert content["missing"] == []
    assert {arm: values["n"] for arm, values in content["arms"].items()} == dict.fromkeys(comparison.arms, 5)
    assert b"These runs differ from that in " in storage.read(root / "significance.md")
    logs = [storage.read(path) for path in storage.glob(root / "logs", "*-seed*.log")]
    assert [log.count(b" parameters, on ") for log in logs] == [1] * 10  # no run is made twice; the dead left no log
    assert b"resuming from step" in storage.read(root / "logs" / f"{first.name}.log")

"""Lines about running jobs, from metrics that the test writes in place of their runs."""

import io
import json

from rich.console import Console

from diffenc_jax.lab.studies.significance.processes import Job
from diffenc_jax.lab.studies.significance.progress import JobsProgress


def test_a_log_has_lines_at_intervals(tmp_path):
    now, console = [0.0], Console(file=io.StringIO(), width=200)
    run, cost = Job("a", [], tmp_path / "log", tmp_path / "a", 100), Job("cost of a step", [], tmp_path / "log")
    run.workdir.mkdir()
    progress = JobsProgress(console, 2, lambda: now[0])
    for second in range(5, 75, 5):
        now[0] = float(second)
        with (run.workdir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": second, "bpd": 1.5}) + "\n")
        progress.show([run, cost] if second < 60 else [cost], second // 60)
    assert console.file.getvalue().splitlines() == [
        "0 of 2 done  15 %  left 0:02:52",
        "a, step 35/100  35 %  1.5000 bits/dim  left 0:01:05",
        "cost of a step  30 s so far",
        "1 of 2 done  50 %  left 58 s",
        "cost of a step  0:01:00 so far",
    ]

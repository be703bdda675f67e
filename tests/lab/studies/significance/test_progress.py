"""Bars of running jobs, from metrics that the test writes in place of their runs."""

import io
import json

import pytest
from rich.console import Console

from diffenc_jax.lab.studies.significance.processes import Job
from diffenc_jax.lab.studies.significance.progress import JobsProgress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def job(tmp_path):
    """A job of a run with 100 steps."""
    return lambda name: Job(name, [], tmp_path / "log", tmp_path / name, 100)


def write(job, *rows):
    job.workdir.mkdir(exist_ok=True)
    with (job.workdir / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def frame(progress, width=80):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    console.print(progress)
    lines = console.file.getvalue().splitlines()
    return [[part.strip() for part in line.split("  ") if part.strip(" ━╸╺")] for line in lines]


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=80)


def test_each_running_job_has_a_bar(job, clock):
    progress, a, b = JobsProgress(terminal(), 4, clock), job("vdm, seed 0"), job("diffenc, seed 0")
    write(b, {"step": 60, "bpd": 3.5})
    for now, step in ((0.0, 10), (20.0, 20), (40.0, 40)):
        clock.now = now
        write(a, {"step": step, "bpd": step / 16}, {"step": step, "test_total": 2.0})
        progress.show([a, b], 0)
    assert frame(progress) == [
        ["0 of 4 done", "24 %", "left 0:06:45"],
        ["vdm, seed 0", "step 40/100", "2.5000 bits/dim", "left 0:01:00"],
        ["diffenc, seed 0", "step 60/100", "3.5000 bits/dim", "starting 40 s"],
    ]
    clock.now = 110.0
    write(a, {"step": 100, "bpd": 2.0})
    progress.show([a, b], 0)
    clock.now = 115.0
    assert frame(progress)[1][-1] == "evaluating 5 s"
    progress.show([b], 1)
    assert [line[0] for line in frame(progress)] == ["1 of 4 done", "diffenc, seed 0"]


def test_a_run_that_repeats_steps_from_its_last_checkpoint(job, clock):
    progress, a = JobsProgress(terminal(), 1, clock), job("a")
    write(a, {"step": 60, "bpd": 3.5})
    progress.show([a], 0)
    (a.workdir / "metrics.jsonl").unlink()
    for now, step in ((9.0, 50), (19.0, 60), (29.0, 70)):
        clock.now = now
        write(a, {"step": step, "bpd": 2.5})
        progress.show([a], 0)
    assert frame(progress) == [["a", "step 70/100", "2.5000 bits/dim", "left 30 s"]]


def test_a_log_has_lines_at_intervals(job, clock, tmp_path):
    console, a, cost = Console(file=io.StringIO(), width=200), job("a"), Job("cost of a step", [], tmp_path / "log")
    progress = JobsProgress(console, 2, clock)
    for second in range(0, 70, 5):
        clock.now = float(second)
        write(a, {"step": second, "bpd": 1.5})
        progress.show([a, cost], 0)
    assert console.file.getvalue().splitlines() == [
        "0 of 2 done  14 %  left 0:02:52",
        "a  step 30/100  1.5000 bits/dim  left 0:01:10",
        "cost of a step  30 s so far",
        "0 of 2 done  29 %  left 0:02:22",
        "a  step 60/100  1.5000 bits/dim  left 40 s",
        "cost of a step  0:01:00 so far",
    ]

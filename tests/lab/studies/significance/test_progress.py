"""Bars of running jobs, from metrics that the test writes in place of their runs."""

import io
import json

import pytest
from rich.console import Console

from diffenc_jax.lab.studies.significance.processes import Job
from diffenc_jax.lab.studies.significance.progress import JobsProgress
from diffenc_jax.runs import storage


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
    progress.show([a, b], 0)
    assert [line[0] for line in frame(progress)] == ["0 of 4 done", "vdm, seed 0", "diffenc, seed 0"]
    clock.now = 30.0
    write(a, {"step": 20, "bpd": 3.5})
    progress.show([a, b], 0)
    clock.now = 50.0
    write(a, {"step": 40, "bpd": 2.5}, {"step": 40, "test_total": 2.0})
    progress.show([a, b], 0)
    assert frame(progress) == [
        ["0 of 4 done", "9 %", "left 0:07:35"],
        ["vdm, seed 0", "step 40/100", "2.5000 bits/dim", "left 0:01:00"],
        ["diffenc, seed 0", "step 0/100", "starting 50 s"],
    ]
    clock.now = 110.0
    write(a, {"step": 100, "bpd": 2.0})
    progress.show([a, b], 0)
    clock.now = 115.0
    assert frame(progress)[1][-1] == "evaluating 5 s"
    progress.show([b], 1)
    assert [line[0] for line in frame(progress)] == ["1 of 4 done", "diffenc, seed 0"]


def test_jobs_that_are_evaluated_are_not_done(job, clock):
    progress, a = JobsProgress(terminal(), 2, clock), job("a")
    write(a, {"step": 100, "bpd": 2.0})
    progress.show([a], 1)
    clock.now = 3.0
    assert frame(progress) == [
        ["1 of 2 done", "99 %", "evaluating 3 s"],
        ["a", "step 100/100", "2.0000 bits/dim", "evaluating 3 s"],
    ]


def test_a_resumed_run_begins_where_it_was(job, clock):
    progress, a = JobsProgress(terminal(), 1, clock), job("a")
    write(a, {"step": 60, "bpd": 3.5})
    progress.show([a], 0)
    assert frame(progress) == [["a", "step 60/100", "3.5000 bits/dim", "starting 0 s"]]
    (a.workdir / "metrics.jsonl").unlink()
    for now, step in ((9.0, 50), (19.0, 60), (29.0, 70)):  # from its last checkpoint on
        clock.now = now
        write(a, {"step": step, "bpd": 2.5})
        progress.show([a], 0)
    assert frame(progress) == [["a", "step 70/100", "2.5000 bits/dim", "left 30 s"]]


def test_metrics_in_a_bucket_are_read_less_often(bucket, clock):
    progress, a = JobsProgress(terminal(), 1, clock), Job("a", [], bucket.folder / "log", bucket.folder / "a", 100)
    for now, step in ((0.0, 10), (14.0, 20), (15.0, 30)):
        clock.now = now
        storage.write(a.workdir / "metrics.jsonl", f'{{"step": {step}, "bpd": 3.5}}\n'.encode())
        progress.show([a], 0)
        assert frame(progress)[0][1] == f"step {30 if now == 15.0 else 10}/100"


def test_a_job_that_trains_nothing_shows_its_time(tmp_path, clock):
    progress = JobsProgress(terminal(), 1, clock)
    job = Job("vdm, cost of a step", [], tmp_path / "log")
    progress.show([job], 0)
    clock.now = 7.0
    progress.show([job], 0)
    assert frame(progress) == [["vdm, cost of a step", "7 s so far"]]


def test_a_log_has_lines_at_intervals(job, clock):
    console, a = Console(file=io.StringIO(), width=200), job("a")
    progress = JobsProgress(console, 2, clock)
    for second in range(70):
        clock.now = float(second)
        write(a, {"step": second, "bpd": 1.5})
        progress.show([a], 0)
    assert console.file.getvalue().splitlines() == [
        "0 of 2 done  14 %  left 0:02:52",
        "a  step 30/100  1.5000 bits/dim  left 0:01:10",
        "0 of 2 done  29 %  left 0:02:22",
        "a  step 60/100  1.5000 bits/dim  left 40 s",
    ]

"""The command and its jobs: order, failures, signals and shares of devices; and two machines of which one dies."""

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import IN_USE, InputError, Interrupted
from diffenc_jax.lab.comparisons.significance import jobs
from diffenc_jax.lab.comparisons.significance.jobs import Job, Share, run_jobs
from diffenc_jax.lab.comparisons.significance.published import COMPARISONS, Published, Reproduction
from diffenc_jax.runs import storage
from diffenc_jax.runs.lock import locked
from diffenc_jax.runs.stored import StoredRun
from tests import processes
from tests.bucket import Faults
from tests.lab.comparisons.significance import made_up

ALONE = [Share({}, None)]


@pytest.fixture
def job(tmp_path):
    """A job of python programs."""
    return lambda name, *programs: Job(name, [["-c", program] for program in programs], tmp_path / f"{name}.log")


def test_commands_of_a_job_follow_each_other_and_a_failure_leaves_other_jobs(job):
    bad = job("bad", "print('step 3: not finite'); raise SystemExit(1)", "print('never')")
    killed, good = job("killed", "import os; os.kill(os.getpid(), 9)"), job("good", "print('one')", "print('two')")
    said = []
    assert run_jobs([bad, killed, good], ALONE, said.append) == [
        f"bad: exit code 1: step 3: not finite (see {bad.log})",
        f"killed: killed by signal 9: no output (see {killed.log})",
    ]
    assert good.log.read_text() == "one\ntwo\n"
    assert [text.split(":")[0] for text in said] == ["bad", "bad", "killed", "killed", "good", "good"]
    assert said[-1].endswith("(3 of 3)")


def test_as_many_at_a_time_as_there_are_shares_each_with_its_own(job, tmp_path):
    """Each waits for the other's file, so that neither ends unless both run."""
    meet = "import os, pathlib, time\nroot = pathlib.Path({root!r})\n(root / '{me}.here').touch()\n"
    meet += "while not (root / '{other}.here').exists(): time.sleep(0.01)\n"
    meet += "print(os.environ['SHARE'], sorted(os.sched_getaffinity(0)))"
    jobs = [job(me, meet.format(root=str(tmp_path), me=me, other=other)) for me, other in ("ab", "ba")]
    core = min(os.sched_getaffinity(0))
    assert run_jobs(jobs, [Share({"SHARE": name}, frozenset({core})) for name in "xy"], lambda _: None) == []
    assert [one.log.read_text() for one in jobs] == [f"x [{core}]\n", f"y [{core}]\n"]


def test_bad_input_stops_all(job):
    patient = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit('saved')); print('up', flush=True)\n"
    patient += "time.sleep(60)"
    hasty = "import pathlib, sys, time\n"
    hasty += f"while not pathlib.Path({str(job('patient').log)!r}).read_text(): time.sleep(0.01)\n"
    hasty += "print('error: no such key'); sys.exit(2)"
    jobs = [job("patient", patient), job("hasty", hasty), job("after", "pass")]
    with pytest.raises(InputError, match=r"^hasty: no such key$"):
        run_jobs(jobs, ALONE * 2, lambda _: None)
    assert jobs[0].log.read_text() == "up\nsaved\n"
    assert not jobs[2].log.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_waited_for(job, number):
    saver = "import os, signal, sys, time\nsignal.signal(15, lambda *_: (time.sleep(0.3), sys.exit('saved')))\n"
    saver += f"os.kill({os.getpid()}, {int(number)}); time.sleep(60)"
    jobs = [job("saver", saver, "print('never')"), job("after", "pass")]
    with pytest.raises(Interrupted) as stop:
        run_jobs(jobs, ALONE, lambda _: None)
    assert stop.value.signal == number
    assert jobs[0].log.read_text() == "saved\n"
    assert not jobs[1].log.exists()


def test_a_job_in_use_comes_back_after_the_others(job, monkeypatch):
    monkeypatch.setattr(jobs, "RETRY_SECONDS", 0.05)
    there = job("b").log
    program = f"import pathlib, sys; print('tried'); sys.exit(0 if pathlib.Path({str(there)!r}).exists() else {IN_USE})"
    said = []
    assert run_jobs([job("a", program, "print('then')"), job("b", "pass")], ALONE, said.append) == []
    assert job("a").log.read_text().splitlines() == ["tried", "tried", "then"]
    assert [line for line in said if "another" in line] == ["a: another process works on it"]


def test_a_log_in_a_bucket_grows_by_the_output_of_each_machine(bucket, monkeypatch):
    monkeypatch.setattr(jobs, "RETRY_SECONDS", 0.05)
    place, said = bucket.folder / "logs" / "a.log", []
    assert run_jobs([Job("a", [["-c", "print('first')"]], place)], ALONE, said.append) == []
    with locked(place.with_suffix("")) as held:  # another machine works on it, until it is told of
        release = lambda line: said.append(line) or ("another" in line and held.close())  # noqa: E731
        (failure,) = run_jobs([Job("a", [["-c", "exit('no such data')"]], place)], ALONE, release)
    assert failure == f"a: exit code 1: no such data (see {place})"
    assert storage.read(place) == b"first\nno such data\n"


MACHINE = """
import sys
from pathlib import Path
from diffenc_jax.lab.comparisons.significance import jobs
from diffenc_jax.lab.comparisons.significance.jobs import Share
root, jobs.RETRY_SECONDS = Path(sys.argv[1]), 0.05
def job(name):
    made = root / f"{name}.made"
    command = ["-c", f"import pathlib, time; print('made'); time.sleep(0.05); pathlib.Path({str(made)!r}).touch()"]
    return jobs.Job(name, [command], root / f"{name}.log", is_done=made.exists)
todo = [job(f"job{number}") for number in range(3)]
assert jobs.run_jobs(todo, [Share({}, None)], print) == []
"""


def test_processes_with_the_same_jobs_make_each_of_them_once(tmp_path):
    machines = [processes.start("-c", MACHINE, tmp_path) for _ in range(2)]
    outputs = [processes.finish(machine, timeout=60)[0] for machine in machines]
    assert [(tmp_path / f"job{number}.log").read_text() for number in range(3)] == ["made\n"] * 3
    assert sum(output.count(": done in ") for output in outputs) == 3
    assert all(output.count("(3 of 3)") == 1 for output in outputs)


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores, and with files under /dev for what else it has."""

    def machine(cores, *files, visible=None):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        listed = [Path(file) for file in files]
        monkeypatch.setattr(Path, "glob", lambda path, pattern: (f for f in listed if f.match(str(path / pattern))))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return machine


def test_jobs_share_cores_gpus_and_chips(machine):
    machine(5)
    assert jobs.shares(1) == [({}, None)]
    assert [share.cores for share in jobs.shares(2)] == [{0, 2, 4}, {1, 3}]
    assert [share.cores for share in jobs.shares(7)] == [{i % 5} for i in range(7)]
    machine(4, "/dev/nvidia0", visible="")  # a GPU that is hidden
    assert [share.cores for share in jobs.shares(2)] == [{0, 2}, {1, 3}]
    machine(8, "/dev/nvidia0", "/dev/nvidia1")
    assert jobs.shares(2) == [({"CUDA_VISIBLE_DEVICES": "0"}, None), ({"CUDA_VISIBLE_DEVICES": "1"}, None)]
    machine(8, "/dev/nvidia0", visible="3")
    assert jobs.shares(2)[1].environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    machine(8, "/dev/accel0", "/dev/accel1")
    chips = [share.environment for share in jobs.shares(2)]
    assert [chip["TPU_VISIBLE_DEVICES"] for chip in chips] == ["0", "1"]
    assert chips[0]["TPU_MESH_CONTROLLER_PORT"] != chips[1]["TPU_MESH_CONTROLLER_PORT"]


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
        flags = {"XLA_FLAGS": processes.QUICKLY_COMPILED}
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

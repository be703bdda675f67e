"""Jobs that make the missing runs of a grid: processes that run several at a time, each with its share of the devices.

If one job fails, the others continue; a signal stops all jobs. Several machines may have the same jobs. A job that
another process works on is postponed, and tried again until it is done: by the other process, or by this process if the
other is gone.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import NamedTuple

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import IN_USE, InputError, InUse, reason, require
from diffenc_jax.lab.comparisons.significance.finished import final_record, read_costs
from diffenc_jax.lab.comparisons.significance.grid import Grid, workdir_of
from diffenc_jax.parallel.cluster import ONE_PROCESS, tpu_chips
from diffenc_jax.parallel.shutdown import Shutdown
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import read_if_present
from diffenc_jax.runs.lock import locked

POLL_SECONDS = 0.1
# Time after which a job is tried again that another process works on.
RETRY_SECONDS = 60.0
# Exit code of our commands for bad input.
BAD_INPUT = 2
MOST = 2**24  # bytes of a log in a bucket; the end of a longer one is kept
OTHERS = "another process works on it"


class Share(NamedTuple):
    """Devices of one of several processes.

    Attributes:
      environment: variables to add to those of this process.
      cores: CPU cores; None: all that this process may use.
    """

    environment: dict[str, str]
    cores: frozenset[int] | None


def shares(parallel: int) -> list[Share]:
    """One share per process: a GPU, a TPU chip or, on a machine without either, a part of the CPU's cores.

    With fewer devices than processes, several processes share a device.
    """
    if parallel == 1:
        return [Share({}, None)]
    if gpus := _gpus():
        # JAX preallocates three quarters of a GPU's memory, which leaves no room for a second process.
        common = {} if parallel <= len(gpus) else {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        return [Share({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)], **common}, None) for i in range(parallel)]
    if chips := tpu_chips():
        return [Share(_tpu(i % chips), None) for i in range(parallel)]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    # Cores that remain go to the first processes; of more processes than cores, several have the same core.
    return [Share({}, frozenset(cores[i % len(cores) :: parallel]) if cores else None) for i in range(parallel)]


def _gpus() -> list[str]:
    """Names of the usable GPUs, in the form of CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def _tpu(chip: int) -> dict[str, str]:
    """Variables of libtpu for one process per chip."""
    port = str(8476 + chip)
    return {
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
        "TPU_PROCESS_BOUNDS": ONE_PROCESS,
        "TPU_VISIBLE_DEVICES": str(chip),
        "TPU_MESH_CONTROLLER_ADDRESS": f"localhost:{port}",
        "TPU_MESH_CONTROLLER_PORT": port,
    }


@dataclass(frozen=True)
class Job:
    """Commands that run one after the other, each only if the previous command succeeded.

    Attributes:
      name: for messages.
      commands: arguments of python, one list per command. A command exits with `IN_USE` if another process works on
        the job.
      log: file to which the output of the commands is appended; in a bucket, once they have ended.
      is_done: whether another process has done the job.
    """

    name: str
    commands: list[list[str]]
    log: Path
    is_done: Callable[[], bool] = lambda: False


def _attempt(job: Job, share: Share, say: Callable[[str], None], stopped: Event) -> tuple[int, str]:
    """Do a job unless another process works on it; returns its exit code, and what is said of it.

    The code is `IN_USE` if the job is to be tried again.
    """
    try:
        return _do(job, share, say, stopped)
    except InUse:
        return IN_USE, OTHERS
    except (InputError, OSError) as error:
        if not is_remote(job.log):
            raise
        return IN_USE, f"put off, {reason(error)}"


def _do(job: Job, share: Share, say: Callable[[str], None], stopped: Event) -> tuple[int, str]:
    """Do a job, and hold the lock of its log during the work; see `_attempt`.

    The exit code is the code of the last command, or of the first that failed. After a failure, the last line of the
    output is reported. Once `stopped`, the process is terminated, which saves first, and no other is started.
    """
    start, output = time.perf_counter(), job.log
    with ExitStack() as held:
        held.enter_context(locked(job.log.with_suffix(""), wait=False))
        if job.is_done():
            return 0, "done by another process"
        if is_remote(job.log):
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="diffenc-log-"))
            output = Path(folder, job.log.name)
            held.callback(_append, output, job.log)
        say(f"{job.name}: begun, see {job.log}")
        for command in job.commands:
            process = _start(command, output, share)
            while process.poll() is None:
                if stopped.wait(POLL_SECONDS):
                    process.terminate()
                    process.wait()
            if process.returncode or stopped.is_set():
                break
        lines = read_if_present(output)[-MOST:].decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    code, seconds = process.returncode, time.perf_counter() - start
    return code, {0: f"done in {seconds:.0f} s", IN_USE: OTHERS}.get(code, last)


def _start(command: Sequence[str], output: Path, share: Share) -> subprocess.Popen[bytes]:
    with output.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | share.environment,
            # Ctrl-C reaches only this process, which passes it on once.
            start_new_session=True,
        )
    if share.cores:
        # Before the process imports JAX, which counts the cores.
        os.sched_setaffinity(process.pid, share.cores)
    return process


def _append(output: Path, log: Path) -> None:
    """Append the output of a job to its log in a bucket."""
    with suppress(OSError, InputError):  # a bucket that does not answer ends no job
        storage.write(log, (read_if_present(log) + read_if_present(output))[-MOST:])


def run_jobs(jobs: Sequence[Job], shares: Sequence[Share], say: Callable[[str], None]) -> list[str]:
    """Run all jobs, as many at a time as there are shares of the devices, each watched by a thread.

    Args:
      say: prints one line of progress; the threads call it too.

    Returns:
      A line per failed job.

    Raises:
      InputError: a job refused its input. Other jobs would refuse it too, so all are stopped.
      Interrupted: a signal came; the jobs have saved and ended.
    """
    waiting = deque((job, 0.0) for job in jobs)  # with the time before which a job is not tried; the times increase
    running: dict[Future[tuple[int, str]], tuple[Job, Share]] = {}
    free, stopped, failures, put_off = [*shares], Event(), list[str](), set[str]()
    with Shutdown() as shutdown, ThreadPoolExecutor(len(shares)) as threads:
        try:
            while waiting or running:
                shutdown.check()
                while free and waiting and waiting[0][1] <= time.monotonic():
                    (job, _), share = waiting.popleft(), free.pop(0)
                    running[threads.submit(_attempt, job, share, say, stopped)] = job, share
                time.sleep(POLL_SECONDS)
                for attempt in [one for one in running if one.done()]:
                    (job, share), (code, why) = running.pop(attempt), attempt.result()
                    free.append(share)
                    line = f"{job.name}: {why}"
                    require(code != BAD_INPUT, f"{job.name}: {why.removeprefix('error: ')}")
                    if code == IN_USE:
                        waiting.append((job, time.monotonic() + RETRY_SECONDS))
                        if line not in put_off:
                            say(line)
                        put_off.add(line)
                        continue
                    if code:
                        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
                        failures.append(f"{job.name}: {how}: {why} (see {job.log})")
                        line = f"{job.name}: failed, {how}"
                    say(f"{line} ({len(jobs) - len(running) - len(waiting)} of {len(jobs)})")
        finally:
            stopped.set()
            if running:
                say(f"stopping {', '.join(job.name for job, _ in running.values())}, which save first")
    return failures


def make_missing(grid: Grid, root: Path, parallel: int, say: Callable[[str], None]) -> list[str]:
    """Train and evaluate the missing runs, `parallel` at a time, then measure the costs that are unknown.

    Several machines may do this at once with the same root; each run is made by one machine. If this machine is gone,
    another machine completes the run.

    Args:
      say: prints one line of progress.

    Returns:
      A line per failure.

    Raises:
      InputError: a process refuses its input.
      Interrupted: a signal came; all processes have saved and ended.
    """
    runs = [_run_job(grid, root, *run) for run in grid.runs()]
    missing = [job for job in runs if not job.is_done()]
    say(f"{len(missing)} of {len(runs)} runs to be made")
    failures = run_jobs(missing, shares(parallel), say)
    # Steps are timed without other processes on the machine.
    costs = [_cost_job(grid, root, arm) for arm in grid.arms if arm not in read_costs(root, grid.arms)]
    return failures + run_jobs(costs, shares(1), say)


def _run_job(grid: Grid, root: Path, arm: str, seed: int) -> Job:
    workdir, config = workdir_of(root, arm, seed), grid.run_config(arm, seed)
    log, is_done = root / "logs" / f"{arm}-seed{seed}.log", lambda: final_record(grid, workdir, config) is not None
    return Job(f"{arm}, seed {seed}", grid.run_commands(root, arm, seed), log, is_done)


def _cost_job(grid: Grid, root: Path, arm: str) -> Job:
    log, is_done = root / "logs" / f"{arm}-cost.log", lambda: arm in read_costs(root, [arm])
    return Job(f"{arm}, cost of a step", [grid.cost_command(root, arm)], log, is_done)

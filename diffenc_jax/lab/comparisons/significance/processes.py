"""Jobs in separate processes, several at a time. Other jobs survive the failure of one; a signal stops all jobs.

Several machines may have the same jobs. A job that another process works on is put off, and tried again until it is
done: by the other process, or by this one if the other is gone.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import IN_USE, InputError, InUse, reason
from diffenc_jax.lab.comparisons.significance.devices import Share
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


@dataclass(frozen=True)
class Job:
    """Commands that run one after the other, each only if the previous one succeeded.

    Attributes:
      name: for messages.
      commands: arguments of python, one list per command. A command exits with `IN_USE` if another process works on
        the job.
      log: file to which their output is appended, in a bucket once they have ended.
      is_done: whether another process has done the job.
    """

    name: str
    commands: list[list[str]]
    log: Path
    is_done: Callable[[], bool] = lambda: False


# Yields the process in progress until all have ended; returns the exit code, and what is said of the job.
Work = Generator[subprocess.Popen[bytes], None, tuple[int, str]]


def _work(job: Job, share: Share, say: Callable[[str], None]) -> Work:
    """Do a job, and hold the lock of its log meanwhile; see `Work`.

    The exit code is that of the last command, or of the first that failed; of a failure the last line of the output is
    said. To stop a job, terminate its process and close the generator, which waits until the process has saved and
    ended.
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
            try:
                while process.poll() is None:
                    yield process
            finally:
                process.wait()
            if process.returncode:
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
    """Run all jobs, as many at a time as there are shares of the devices.

    Args:
      say: prints one line of progress.

    Returns:
      A line per failed job.

    Raises:
      InputError: a job refused its input. Others would too, so all are stopped.
      Interrupted: a signal came; the jobs have saved and ended.
    """
    waiting = [(job, 0.0) for job in jobs]  # with the time before which a job is not tried
    running: dict[int, tuple[Job, Work]] = {}  # by number of the share
    processes: dict[int, subprocess.Popen[bytes]] = {}
    said, ended, failures = set[str](), list[str](), list[str]()

    def go_on(number: int) -> None:
        """Begin or continue the job of a share."""
        job, work = running.pop(number)
        try:
            processes[number] = next(work)
            running[number] = job, work
            return
        except StopIteration as stop:
            code, why = stop.value
        except InUse:
            code, why = IN_USE, OTHERS
        except (InputError, OSError) as error:
            if not is_remote(job.log):
                raise
            code, why = IN_USE, f"put off, {reason(error)}"
        if code == BAD_INPUT:
            raise InputError(f"{job.name}: {why.removeprefix('error: ')}")
        if code == IN_USE:
            waiting.append((job, time.monotonic() + RETRY_SECONDS))
            if (line := f"{job.name}: {why}") not in said:
                said.add(line)
                say(line)
            return
        if code:
            how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            failures.append(f"{job.name}: {how}: {why} (see {job.log})")
            why = f"failed, {how}"
        ended.append(job.name)
        say(f"{job.name}: {why} ({len(ended)} of {len(jobs)})")

    with Shutdown() as shutdown:
        try:
            while waiting or running:
                shutdown.check()
                for number, share in enumerate(shares):
                    due = next((one for one in waiting if one[1] <= time.monotonic()), None)
                    if number not in running and due is not None:
                        waiting.remove(due)
                        running[number] = due[0], _work(due[0], share, say)
                    if number in running:
                        go_on(number)
                time.sleep(POLL_SECONDS)
        finally:
            if running:
                say(f"stopping {', '.join(job.name for job, _ in running.values())}, which save first")
            for process in processes.values():
                process.terminate()
            for _, work in running.values():
                work.close()
    return failures

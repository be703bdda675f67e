"""Jobs in separate processes, several at a time. Other jobs survive the failure of one; a signal stops all jobs.

Several machines may have the same jobs. A job that another process works on is put off, and tried again until it is
done: by the other process, or by this one if the other is gone.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import IN_USE, InputError, Interrupted, InUse, reason
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


class _Running:
    """A job in progress, which holds the lock of its log."""

    def __init__(self, job: Job, share: Share, held: ExitStack):
        """Start the first command. What `held` has entered is left when the job has ended."""
        self.job, self._start, self._share = job, time.perf_counter(), share
        self._output, self._left = job.log, deque(job.commands)
        if is_remote(job.log):
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="diffenc-log-"))
            self._output = Path(folder, job.log.name)
        self._process = self._next()
        self._held = held.pop_all()

    def _next(self) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *self._left.popleft()],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | self._share.environment,
                # Ctrl-C reaches only this process, which passes it on once.
                start_new_session=True,
            )
        if self._share.cores:
            # Before the process imports JAX, which counts the cores.
            os.sched_setaffinity(process.pid, self._share.cores)
        return process

    def poll(self) -> int | None:
        """Exit code of the last command, or of the first that failed; None while the job is in progress."""
        code = self._process.poll()
        if code == 0 and self._left:
            self._process, code = self._next(), None
        return code

    def stop(self) -> None:
        """Ask the process to save and end, and drop the commands after it."""
        self._left.clear()
        self._process.terminate()

    def end(self) -> tuple[float, str]:
        """Wait for the end of the process; returns the seconds that the job took, and the last line of its output."""
        self._process.wait()
        output, log = read_if_present(self._output)[-MOST:], self.job.log
        with self._held, suppress(OSError, InputError):  # a bucket that does not answer ends no job
            if is_remote(log):
                storage.write(log, (read_if_present(log) + output)[-MOST:])
        lines = output.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        return time.perf_counter() - self._start, last


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
    waiting = deque((job, 0.0) for job in jobs)  # with the time before which a job is not tried
    running: dict[int, _Running] = {}  # by number of the share
    said, ended, failures = set[str](), list[str](), list[str]()

    def put_off(job: Job, why: str) -> None:
        waiting.append((job, time.monotonic() + RETRY_SECONDS))
        if (line := f"{job.name}: {why}") not in said:
            said.add(line)
            say(line)

    def end(job: Job, how: str) -> None:
        ended.append(job.name)
        say(f"{job.name}: {how} ({len(ended)} of {len(jobs)})")

    def begin(job: Job, number: int) -> None:
        try:
            with ExitStack() as held:
                held.enter_context(locked(job.log.with_suffix(""), wait=False))
                if job.is_done():
                    end(job, "done by another process")
                    return
                running[number] = _Running(job, shares[number], held)
                say(f"{job.name}: begun, see {job.log}")
        except (InputError, OSError) as error:
            if not isinstance(error, InUse) and not is_remote(job.log):
                raise
            put_off(job, OTHERS if isinstance(error, InUse) else f"put off, {reason(error)}")

    def collect(number: int, code: int) -> None:
        done = running.pop(number)
        job, (seconds, last) = done.job, done.end()
        if code == BAD_INPUT:
            raise InputError(f"{job.name}: {last.removeprefix('error: ')}")
        if code == IN_USE:
            put_off(job, OTHERS)
        elif code == 0:
            end(job, f"done in {seconds:.0f} s")
        else:
            why = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            failures.append(f"{job.name}: {why}: {last} (see {job.log})")
            end(job, f"failed, {why}")

    with Shutdown() as shutdown:
        try:
            while waiting or running:
                shutdown.check()
                for _ in range(len(waiting)):
                    job, since = waiting.popleft()
                    free = next((number for number in range(len(shares)) if number not in running), None)
                    if free is None or time.monotonic() < since:
                        waiting.append((job, since))
                    else:
                        begin(job, free)
                codes = {number: one.poll() for number, one in running.items()}
                for number, code in codes.items():
                    if code is not None:
                        collect(number, code)
                time.sleep(POLL_SECONDS)
        except (InputError, Interrupted, OSError):
            if running:
                say(f"stopping {', '.join(one.job.name for one in running.values())}, which save first")
            for one in running.values():
                one.stop()
            for one in running.values():
                one.end()
            raise
    return failures

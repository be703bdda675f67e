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
from diffenc_jax.lab.studies.significance.devices import Share
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
      workdir, steps: folder and number of steps of the run that they train, if they train one.
      is_done: whether another process has done the job.
    """

    name: str
    commands: list[list[str]]
    log: Path
    workdir: Path | None = None
    steps: int | None = None
    is_done: Callable[[], bool] = lambda: False


class _Running:
    """A job in progress.

    Attributes:
      start: time of its start.
      closing: what is closed at its end, such as its lock.
    """

    def __init__(self, job: Job, share: Share, output: Path):
        """Start the first command, which writes to the file `output` on this machine."""
        self.job, self.start, self.closing = job, time.perf_counter(), ExitStack()
        self._share, self._output, self._left = share, output, deque(job.commands)
        self._process = self._next()

    def _next(self) -> subprocess.Popen:
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
            self._process = self._next()
            return None
        return code

    def last_line(self) -> str:
        """The last line of the output that is not empty."""
        lines = storage.tail(self._output, 2**16).decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")

    def stop(self) -> None:
        """Ask the process to save and end, and drop the commands after it."""
        self._left.clear()
        self._process.terminate()

    def end(self) -> None:
        """Wait for the end of the process, and append its output to a log in a bucket."""
        self._process.wait()
        log = self.job.log
        with self.closing, suppress(OSError, InputError):  # a bucket that does not answer ends no job
            if is_remote(log):
                storage.write(log, (read_if_present(log, MOST) + storage.tail(self._output, MOST))[-MOST:])


class _Jobs:
    """Jobs that wait, run or have ended.

    Attributes:
      running: jobs in progress by the number of their share.
      ended: number of jobs that are done or have failed.
      failures: a line per failed job.
    """

    def __init__(self, jobs: Sequence[Job], shares: Sequence[Share], say: Callable[[str], None]):
        self.running: dict[int, _Running] = {}
        self.ended, self.failures = 0, list[str]()
        self._count, self._shares, self._say = len(jobs), shares, say
        self._waiting = deque((job, 0.0) for job in jobs)  # with the time before which a job is not tried
        self._told: set[str] = set()

    def is_left(self) -> bool:
        """Whether a job waits or runs."""
        return bool(self._waiting or self.running)

    def begin(self) -> None:
        """Start waiting jobs on the free shares, except those that another process has done."""
        for number, share in enumerate(self._shares):
            while number not in self.running and (job := self._next_due()):
                try:
                    self._start(job, number, share)
                except InUse:
                    self._try_later(job, OTHERS)
                except (InputError, OSError) as error:
                    if not is_remote(job.log):
                        raise
                    self._try_later(job, f"put off, {reason(error)}")

    def collect(self) -> None:
        """Count the jobs that have ended; raises InputError if one has refused its input."""
        for number, code in [(number, running.poll()) for number, running in self.running.items()]:
            if code is None:
                continue
            running = self.running.pop(number)
            job, last = running.job, running.last_line()
            running.end()
            if code == BAD_INPUT:
                raise InputError(f"{job.name}: {last.removeprefix('error: ')}")
            if code == IN_USE:
                self._try_later(job, OTHERS)
            elif code == 0:
                self._end(f"{job.name}: done in {time.perf_counter() - running.start:.0f} s")
            else:
                why = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
                self.failures.append(f"{job.name}: {why}: {last} (see {job.log})")
                self._end(f"{job.name}: failed, {why}")

    def stop(self) -> None:
        """Stop the running jobs and wait for them."""
        if self.running:
            names = ", ".join(running.job.name for running in self.running.values())
            self._say(f"stopping {names}, which save first")
        for running in self.running.values():
            running.stop()
        for running in self.running.values():
            running.end()

    def _start(self, job: Job, number: int, share: Share) -> None:
        """Start a job on a share unless it is done. Raises InUse if another process works on it."""
        with ExitStack() as stack:
            stack.enter_context(locked(job.log.with_suffix(""), wait=False))
            if job.is_done():
                self._end(f"{job.name}: done by another process")
                return
            output = job.log
            if is_remote(job.log):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="diffenc-log-"))
                output = Path(folder, job.log.name)
            self.running[number] = running = _Running(job, share, output)
            running.closing = stack.pop_all()
            self._say(f"{job.name}: begun, see {job.log}")

    def _next_due(self) -> Job | None:
        """The first waiting job that may be tried, removed from those that wait."""
        for index, (job, due) in enumerate(self._waiting):
            if time.monotonic() >= due:
                del self._waiting[index]
                return job
        return None

    def _try_later(self, job: Job, why: str) -> None:
        self._waiting.append((job, time.monotonic() + RETRY_SECONDS))
        line = f"{job.name}: {why}"
        if line not in self._told:
            self._told.add(line)
            self._say(line)

    def _end(self, line: str) -> None:
        self.ended += 1
        self._say(f"{line} ({self.ended} of {self._count})")


def run_jobs(
    jobs: Sequence[Job],
    shares: Sequence[Share],
    say: Callable[[str], None],
    show: Callable[[Sequence[Job], int], None] = lambda running, ended: None,
) -> list[str]:
    """Run all jobs, as many at a time as there are shares of the devices.

    Args:
      say: prints one line of progress.
      show: called several times per second with the running jobs and the number of jobs that have ended.

    Returns:
      A line per failed job.

    Raises:
      InputError: a job refused its input. Others would too, so all are stopped.
      Interrupted: a signal came; the jobs have saved and ended.
    """
    all_jobs = _Jobs(jobs, shares, say)
    with Shutdown() as shutdown:
        try:
            while all_jobs.is_left():
                shutdown.check()
                all_jobs.begin()
                all_jobs.collect()
                show([running.job for running in all_jobs.running.values()], all_jobs.ended)
                time.sleep(POLL_SECONDS)
        except (InputError, Interrupted, OSError):
            all_jobs.stop()
            raise
    return all_jobs.failures

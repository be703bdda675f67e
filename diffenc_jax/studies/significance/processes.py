"""Jobs in separate processes, several at a time. Other jobs survive the failure of one; a signal stops all jobs."""

import fcntl
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from diffenc_jax.core.errors import InputError, Interrupted
from diffenc_jax.parallel.shutdown import Shutdown
from diffenc_jax.studies.significance.devices import Share

POLL_SECONDS = 0.1
# Exit code of our commands for bad input.
BAD_INPUT = 2


@dataclass(frozen=True)
class Job:
    """Commands that run one after the other, each only if the previous one succeeded.

    Attributes:
      name: for messages.
      commands: arguments of python, one list per command.
      log: file to which their output is appended.
      workdir, steps: folder and number of steps of the run that they train, if they train one.
    """

    name: str
    commands: list[list[str]]
    log: Path
    workdir: Path | None = None
    steps: int | None = None


class _Running:
    """A job in progress.

    The log stays locked while a process of the job has it open. So a second process of the job never starts beside the
    first, even if the parent of the first was killed.
    """

    def __init__(self, job: Job, share: Share):
        self.job, self.start = job, time.perf_counter()
        self._share, self._left = share, deque(job.commands)
        self._log = _locked(job)
        self._process = self._next()

    def _next(self) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, *self._left.popleft()],
            stdout=self._log,
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
        if code is not None:
            self._log.close()
        return code

    def stop(self) -> None:
        """Ask the process to save and end, and drop the commands after it."""
        self._left.clear()
        self._process.terminate()

    def wait(self) -> None:
        """Wait for the end of the process."""
        self._process.wait()
        self._log.close()


def _locked(job: Job) -> IO[str]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = job.log.open("a")
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        log.close()
        raise InputError(f"{job.name} is being run by another process, which writes {job.log}; wait for it") from error
    return log


def run_jobs(
    jobs: list[Job],
    shares: list[Share],
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
    waiting, running, failures, done = deque(jobs), {}, [], 0
    with Shutdown() as shutdown:
        try:
            while waiting or running:
                shutdown.check()
                for number in range(len(shares)):
                    if waiting and number not in running:
                        running[number] = _Running(waiting.popleft(), shares[number])
                        say(f"{running[number].job.name}: begun, see {running[number].job.log}")
                for number, code in [(number, job.poll()) for number, job in running.items()]:
                    if code is not None:
                        done += 1
                        say(f"{_outcome(running.pop(number), code, failures)} ({done} of {len(jobs)})")
                show([job.job for job in running.values()], done)
                time.sleep(POLL_SECONDS)
        except (InputError, Interrupted):
            if running:
                say(f"stopping {', '.join(job.job.name for job in running.values())}, which save first")
            for job in running.values():
                job.stop()
            for job in running.values():
                job.wait()
            raise
    return failures


def _outcome(running: _Running, code: int, failures: list[str]) -> str:
    """Line about a job that has ended; a failure is added to `failures`."""
    job, seconds = running.job, time.perf_counter() - running.start
    if code == 0:
        return f"{job.name}: done in {seconds:.0f} s"
    lines = [line.strip() for line in job.log.read_text(errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else "no output"
    if code == BAD_INPUT:
        raise InputError(f"{job.name}: {last.removeprefix('error: ')}")
    why = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    failures.append(f"{job.name}: {why}: {last} (see {job.log})")
    return f"{job.name}: failed, {why}"

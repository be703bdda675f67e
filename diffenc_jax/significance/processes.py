"""Jobs, some at a time, each its own process: one that fails leaves the others, a signal stops all in good order."""

import fcntl
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from diffenc_jax.errors import InputError, Interrupted
from diffenc_jax.significance.devices import Share
from diffenc_jax.train.shutdown import Shutdown

POLL_SECONDS = 0.1
# What our commands end with when something that they were given is wrong.
BAD_INPUT = 2


@dataclass(frozen=True)
class Job:
    """Commands, one after the other, each only if the one before went well.

    Attributes:
      name: for people.
      commands: arguments of python.
      log: file that their output is appended to.
    """

    name: str
    commands: list[list[str]]
    log: Path


class _Running:
    """A job whose commands are being run.

    The log is locked for as long as a process of the job has it open: a second one never starts beside the first,
    even if what started that was killed.
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
            # Ctrl-C reaches us alone, and we pass it on once.
            start_new_session=True,
        )
        if self._share.cores:
            # Long before JAX, once it is imported, counts the cores.
            os.sched_setaffinity(process.pid, self._share.cores)
        return process

    def poll(self) -> int | None:
        """The exit code of the last command, or of the first that failed; None while there is something to do."""
        code = self._process.poll()
        if code == 0 and self._left:
            self._process = self._next()
            return None
        if code is not None:
            self._log.close()
        return code

    def stop(self) -> None:
        """Asks the process to save and end, and forgets the commands after it."""
        self._left.clear()
        self._process.terminate()

    def wait(self) -> None:
        """Returns when it has ended."""
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


def run(jobs: list[Job], shares: list[Share], say: Callable[[str], None]) -> list[str]:
    """Runs all jobs, as many at a time as there are shares of the devices.

    Args:
      say: told what was begun and done.

    Returns:
      A line for each job that failed.

    Raises:
      InputError: a job found its input wrong; what is wrong for one will be for others, so all are stopped.
      Interrupted: a signal came; the jobs were asked to save and have ended.
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
                        said = _outcome(running.pop(number), code, failures)
                        say(f"{said} ({done} of {len(jobs)})")
                time.sleep(POLL_SECONDS)
        except (InputError, Interrupted):
            _stop(running, say)
            raise
    return failures


def _outcome(running: _Running, code: int, failures: list[str]) -> str:
    """What came of a job; what failed is added to `failures`."""
    job, seconds = running.job, time.perf_counter() - running.start
    if code == 0:
        return f"{job.name}: done in {seconds:.0f} s"
    last = _last_line(job.log)
    if code == BAD_INPUT:
        raise InputError(f"{job.name}: {last.removeprefix('error: ')}")
    why = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    failures.append(f"{job.name}: {why}: {last} (see {job.log})")
    return f"{job.name}: failed, {why}"


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def _stop(running: dict[int, _Running], say: Callable[[str], None]) -> None:
    """Has every job save and end."""
    if running:
        say(f"stopping {', '.join(job.job.name for job in running.values())}, which save first")
    for job in running.values():
        job.stop()
    for job in running.values():
        job.wait()

"""Measuring results: their commands run once each, in a common folder, and what they print is kept."""

import json
import os
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from result import ROOT, Result, Step

from diffenc_jax.core import versions
from diffenc_jax.core.errors import RunError, lookup
from diffenc_jax.core.terminal import TABLES

EXPERIMENTS: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("experiments.toml").read_text())


def make(name: str, only: str, work: Path) -> None:
    """Run the commands of a result that have not ended, or one by its number, and keep the result if all have ended."""
    commands = dict(zip(map(str, range(1, 99)), lookup("result", name, EXPERIMENTS), strict=False))
    logs = {number: work / f"logs/{name}-{number}.json" for number in commands}
    logs["1"].parent.mkdir(parents=True, exist_ok=True)
    for folder in ("benchmarks", "examples"):
        (work / folder).unlink(missing_ok=True)
        (work / folder).symlink_to(ROOT / folder)
    for number in [only] if only else commands:
        measure(lookup("command", number, commands), work, logs[number])
    steps = [stored(log, commands[number]) for number, log in logs.items()]
    if all(step.ended for step in steps):
        Result(name, steps).write()


def stored(log: Path, command: str) -> Step:
    """The step in the file `log`; a fresh one if there is none, or if it is of another command."""
    step = Step(**json.loads(log.read_text())) if log.exists() else Step(command)
    return step if step.command == command else Step(command)


def measure(command: str, work: Path, log: Path) -> None:
    """Run a command in the folder `work`, unless it has ended; its step is kept in `log`, and its output beside it.

    Raises RunError if it fails.
    """
    step, output, printed = stored(log, command), log.with_suffix(".out"), log.with_suffix(".jsonl")
    if step.ended:
        return
    step.commits = sorted({*step.commits, commit()})
    log.write_text(json.dumps(asdict(step)))  # a process that is killed has left its commit
    print(command, file=sys.stderr, flush=True)
    printed.write_text("")
    start, path = time.monotonic(), f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        with output.open("w") as file:
            environment = os.environ | {"PATH": path, TABLES: str(printed)}
            status = subprocess.run(command, shell=True, cwd=work, env=environment, stdout=file).returncode
        if status:
            raise RunError(f"status {status} of {command}; its output is in {output}")
        step.ended, step.machine = datetime.now(UTC).isoformat(timespec="seconds"), versions.machine()
        step.tables = [json.loads(line) for line in printed.read_text().splitlines()]
    finally:
        step.seconds += time.monotonic() - start
        log.write_text(json.dumps(asdict(step)))


def commit() -> str:
    """The commit of this checkout, with a '+' if files other than documents and pictures differ from it."""
    return versions.commit(apart_from=("docs", "pictures", "README.md")) or "unknown"

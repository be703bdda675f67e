"""Time from the start of a run to its first step, from nothing and resumed, as one line of JSON.

Starts `python -m diffenc_jax.main` in an empty folder, waits for the first step in its metrics, stops it by a signal
and starts it again: cold_seconds and resumed_seconds, the medians of --repeats such pairs. import_seconds is the time
of `import diffenc_jax`, the start of the interpreter included.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import records

from diffenc_jax.commands.arguments import add_config, load_arguments_config, positive
from diffenc_jax.core.errors import RunError

EXAMPLE = "python benchmarks/start.py --config=configs/digits.py --repeats=5"
POLL_SECONDS = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=positive, default=3, help="number of timings")
    records.add_record_arguments(parser)
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    before, config = records.earlier(arguments), load_arguments_config(arguments)
    flags = [f"--config={arguments.config}", *(f"--config.{override}" for override in arguments.overrides)]
    imports, cold, resumed = [], [], []
    for _ in range(arguments.repeats):
        imports.append(import_seconds())
        with tempfile.TemporaryDirectory() as folder:
            cold.append(first_step_seconds(flags, Path(folder)))
            resumed.append(first_step_seconds(flags, Path(folder)))
    record = {
        "benchmark": "start",
        "config": config.name,
        "arm": config.arm,
        **records.spread("import_seconds", imports),
        **records.spread("cold_seconds", cold),
        **records.spread("resumed_seconds", resumed),
        "resumed_share": float(np.median(resumed) / np.median(cold)),
        "repeats": arguments.repeats,
        **records.machine(),
    }
    records.finish(record, before, arguments)


def import_seconds() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import diffenc_jax"], check=True)
    return time.perf_counter() - start


def first_step_seconds(flags: list[str], folder: Path) -> float:
    """Time to the first step of a run in `folder`, which is then stopped; another call resumes it."""
    metrics = folder / "run" / "metrics.jsonl"
    before = metrics.stat().st_size if metrics.exists() else 0
    program = [sys.executable, "-m", "diffenc_jax.main"]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        command = [*program, *flags, f"--workdir={folder}/run", "--config.log.every_steps=1"]
        run = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while run.poll() is None and (not metrics.exists() or metrics.stat().st_size <= before):
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - start
        run.send_signal(signal.SIGTERM)
        if run.wait() != 128 + signal.SIGTERM:
            output.seek(0)
            raise RunError(f"the signal did not stop the run: {output.read().strip()[-300:]}")
    return seconds


if __name__ == "__main__":
    records.run_script()

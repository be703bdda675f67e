"""How long a run takes to reach its first step, from nothing and resumed, as one line of JSON.

python benchmarks/start.py --config=configs/digits.py [--looks=3] [--json=FILE] [--baseline=FILE]
    [--config.key=value ...]

Starts `python -m diffenc_jax.main` in an empty folder, waits for the first step in its metrics, stops it by a signal
and starts it again: cold_seconds and resumed_seconds, the medians of --looks such pairs. import_seconds is that of
`import diffenc_jax`, the interpreter's own start included.
"""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import records
from absl import app, flags, logging

from diffenc_jax import cli

LOOKS = flags.DEFINE_integer("looks", 3, "How often everything is timed.", lower_bound=1)
POLL_SECONDS = 0.01
OWN_FLAGS = ("--looks", "--json", "--baseline")


def import_seconds() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import diffenc_jax"], check=True)
    return time.perf_counter() - start


def first_step_seconds(arguments: list[str], folder: Path) -> float:
    """Of a run in `folder`; it is stopped after that, and goes on from there when called again."""
    metrics = folder / "run" / "metrics.jsonl"
    before = metrics.stat().st_size if metrics.exists() else 0
    command = [
        sys.executable,
        "-m",
        "diffenc_jax.main",
        *arguments,
        f"--workdir={folder}/run",
        "--config.log.every_steps=1",
    ]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        run = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while run.poll() is None and (not metrics.exists() or metrics.stat().st_size <= before):
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - start
        run.send_signal(signal.SIGTERM)
        if run.wait() != 128 + signal.SIGTERM:
            output.seek(0)
            cli.fail(f"the run did not stop by the signal: {output.read().strip()[-300:]}")
    return seconds


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    before, config = records.earlier(), cli.CONFIG.value
    arguments = [arg for arg in sys.argv[1:] if not arg.startswith(OWN_FLAGS)]
    imports, cold, resumed = [], [], []
    for _ in range(LOOKS.value):
        imports.append(import_seconds())
        with tempfile.TemporaryDirectory() as folder:
            cold.append(first_step_seconds(arguments, Path(folder)))
            resumed.append(first_step_seconds(arguments, Path(folder)))
    record = {
        "benchmark": "start",
        "config": config.name,
        "arm": config.arm,
        **records.spread("import_seconds", imports),
        **records.spread("cold_seconds", cold),
        **records.spread("resumed_seconds", resumed),
        "resumed_share": float(np.median(resumed) / np.median(cold)),
        "looks": LOOKS.value,
        **records.machine(),
    }
    records.finish(record, before)


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse)

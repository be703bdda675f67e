"""What the timing benchmarks share: a record as one line of JSON, and its ratios to an earlier one."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from diffenc_jax import cli, environment
from diffenc_jax.errors import InputError

JSON = flags.DEFINE_string("json", None, "File to append the record to, as one line.")
BASELINE = flags.DEFINE_string("baseline", None, "File of such lines; ratios to the last one are printed.")
# How the names of what is compared end.
COMPARED = ("_seconds", "_bytes", "_per_second", "_per_step", "_share")


def spread(name: str, values: list[float]) -> dict[str, Any]:
    """{name: the median, name_quartiles: [lower, upper]}."""
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {name: median, f"{name}_quartiles": [lower, upper]}


def machine() -> dict[str, Any]:
    """Processor, the cores that this process may use, devices and software."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "device": environment.device(),
        "software": environment.software(),
    }


def earlier() -> dict[str, Any] | None:
    """The record to compare with, read before anything is measured; bad files end the process in one line."""
    try:
        cli.writable_file("json", JSON.value)
        return json.loads(Path(BASELINE.value).read_text().splitlines()[-1]) if BASELINE.value else None
    except (InputError, OSError, IndexError, ValueError) as error:
        cli.fail(f"--baseline={BASELINE.value} has no record: {error}" if BASELINE.value else str(error))


def finish(record: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Prints `record`, appends it to --json, and prints, on standard error, its ratios to `before`."""
    line = json.dumps(record)
    print(line)
    if JSON.value:
        with Path(JSON.value).open("a") as file:
            file.write(line + "\n")
    for name in () if before is None else record:
        if name.endswith(COMPARED) and before.get(name):
            print(
                f"{name}: {record[name]:.4g} / {before[name]:.4g} = {record[name] / before[name]:.3f}", file=sys.stderr
            )

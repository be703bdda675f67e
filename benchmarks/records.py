"""Records of the timing benchmarks: one line of JSON each, and ratios to an earlier record."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from diffenc_jax.__main__ import execute
from diffenc_jax.commands.options import writable_file
from diffenc_jax.core import output
from diffenc_jax.core.errors import InputError

# Endings of the names that are compared.
COMPARED = ("_seconds", "_bytes", "_per_second", "_per_step", "_share")


def run_script(computes: bool = False) -> NoReturn:
    """Run the script that was started as a command, see `diffenc_jax.__main__`, and exit."""
    output.go_on_without_output()
    sys.exit(execute(sys.modules["__main__"], f"python {sys.argv[0]}", sys.argv[1:], computes))


def add_record_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --json and --baseline."""
    parser.add_argument("--json", metavar="FILE", help="file to append the record to")
    parser.add_argument("--baseline", metavar="FILE", help="file of records; prints the ratios to its last one")


def earlier(arguments: argparse.Namespace) -> dict[str, Any]:
    """The record of --baseline, empty without one; call it before the measurement.

    Raises:
      InputError: --baseline holds no record, or --json cannot be written.
    """
    writable_file("json", arguments.json)
    if arguments.baseline is None:
        return {}
    try:
        return json.loads(Path(arguments.baseline).read_text().splitlines()[-1])
    except (OSError, IndexError, ValueError) as error:
        raise InputError(f"--baseline={arguments.baseline} has no record: {error}") from error


def spread(name: str, values: list[float]) -> dict[str, Any]:
    """{name: the median, name_quartiles: [lower, upper]}."""
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {name: median, f"{name}_quartiles": [lower, upper]}


def append(path: str, record: dict[str, Any]) -> None:
    """Append a record to a file of JSON lines."""
    with Path(path).open("a") as file:
        file.write(json.dumps(record) + "\n")


def finish(record: dict[str, Any], before: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print `record`, append it to --json, and print its ratios to `before` on standard error."""
    print(json.dumps(record))
    if arguments.json:
        append(arguments.json, record)
    for name, value in record.items():
        if name.endswith(COMPARED) and before.get(name):
            print(f"{name}: {value:.4g} / {before[name]:.4g} = {value / before[name]:.3f}", file=sys.stderr)

"""Speed of the CIFAR-10 models on the accelerators of this machine, within a given time: tables and one record.

The measurements use all devices that JAX finds, and the most useful ones come first: training steps of vdm-8,
diffenc-8-2, vdm and diffenc at batch 128 in bfloat16 and float32, with other choices of model.remat and model.scan;
with --diffenc the published code's steps beside them, each in its own process; evaluation and sampling; bits/dim on
digits of trainings in bfloat16 and in float32; and whether a repeated training gives the same bits. If a measurement
fails, or does not fit into the time, the table names it with the reason, and the others go on. No data set is needed.

The record is one JSON object. With --json it is written after every measurement, so that it survives any end of the
process; otherwise it is printed after the tables. docs/speed.md explains the values.
"""

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import jax
import peers
import published
import records
from budget import FAILED, LEFT_OUT, MEASURED, Measurement, Row, within
from measurements import SMALL, Bench, Sizes

from diffenc_jax.commands.options import positive_number, writable_file
from diffenc_jax.core import versions
from diffenc_jax.core.document import Table
from diffenc_jax.core.numbers import UNKNOWN, Figure
from diffenc_jax.core.terminal import print_document
from diffenc_jax.lab.costs.machines import target_of
from diffenc_jax.parallel.memory import device_memory
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.files import write_json

EXAMPLE = "python benchmarks/accelerator.py --minutes=8 --json=accelerator.json"
GIB = 2**30
# Model configurations of the published code by arm.
PUBLISHED = {pair.arm: pair.model for pair in (peers.VDM, peers.DIFFENC)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=positive_number, default=8.0, help="time for all measurements")
    parser.add_argument("--json", metavar="FILE", help="file of the record; an existing one is replaced")
    parser.add_argument("--diffenc", type=Path, metavar="DIR", help="checkout of the published code, to be compared")
    parser.add_argument("--small", action="store_true", help="small networks and few steps, to try this program")


def run(arguments: argparse.Namespace) -> None:
    start, path = time.perf_counter(), writable_file("json", arguments.json)
    if arguments.diffenc is not None:
        published.check_checkout(arguments.diffenc, *PUBLISHED.values())
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # two processes share the memory
    kind, devices = jax.devices()[0].device_kind, jax.device_count()
    target, seconds = target_of(kind), 60 * arguments.minutes
    peak = None if target is None else target.flops * devices
    bench = Bench(make_mesh(), SMALL if arguments.small else Sizes(), peak)
    measurements = plan(bench, arguments.diffenc)
    about = {
        "benchmark": "accelerator",
        "commit": versions.commit(),
        **versions.machine(),
        "device_kind": kind,
        "device_count": devices,
        "device_memory_bytes": device_memory(),
        "peak_flops_per_second": peak,
        "compilation_cache": jax.config.jax_compilation_cache_dir is not None,
        "minutes": arguments.minutes,
        "small": arguments.small,
    }
    report = Report(about, measurements, path)
    timer = threading.Timer(seconds, report.end_process)
    timer.daemon = True
    timer.start()
    for row in within(seconds - (time.perf_counter() - start), measurements):
        report.add(row)
    timer.cancel()
    report.end()


def plan(bench: Bench, checkout: Path | None) -> list[Measurement]:
    """All measurements, the most useful first."""

    def step(expected, arm, dtype="bfloat16", **choice):
        changes = {f"model.{key}": value for key, value in choice.items()}
        words = ["step", arm, dtype, *(f"{key}={value}" for key, value in choice.items())]
        return Measurement(" ".join(words), "step", expected, lambda: bench.step(arm, dtype, changes))

    def repeat(expected, arm, dtype):
        return Measurement(f"repeat {arm} {dtype}", "repeat", expected, lambda: bench.repeat(arm, dtype))

    def rate(expected, task, arm, dtype="bfloat16"):
        return Measurement(f"{task} {arm} {dtype}", "rate", expected, lambda: bench.rate(task, arm, dtype))

    def dtypes(expected, seed):
        return Measurement(f"dtypes seed {seed}", "dtypes", expected, lambda: bench.dtypes(seed))

    def theirs(expected, arm):
        measure = lambda: bench.published(arm, PUBLISHED[arm], checkout)  # noqa: E731
        return [Measurement(f"published {arm} float32", "published", expected, measure)] if checkout else []

    return [
        *(step(30, "vdm-8"), step(45, "diffenc-8-2"), step(25, "vdm-8", "float32"), *theirs(60, "vdm-8")),
        *(step(40, "diffenc-8-2", "float32"), *theirs(90, "diffenc-8-2")),
        *(step(100, "vdm"), step(150, "diffenc")),
        *(dtypes(70, seed=0), repeat(10, "diffenc", "bfloat16")),
        *(rate(30, "evaluation", "diffenc"), rate(20, "sampling", "vdm")),
        *(step(25, "vdm-8", remat="products"), step(25, "vdm-8", remat="block")),
        *(step(30, "vdm-8", scan=True), step(40, "diffenc", scan=True)),
        *(step(100, "vdm", "float32"), step(150, "diffenc", "float32"), repeat(15, "diffenc", "float32")),
        *(rate(25, "evaluation", "vdm"), rate(30, "evaluation", "diffenc", "float32")),
        dtypes(70, seed=1),
        *(step(100, "vdm", remat="block"), step(150, "diffenc", remat="block")),
    ]


class Report:
    """The record as it grows, and its end."""

    def __init__(self, about: dict[str, Any], measurements: list[Measurement], path: Path | None):
        """Keep the record of these measurements in the file `path`, if it is given."""
        self._about, self._measurements, self._path = about, measurements, path
        self._rows: list[Row] = []
        self._lock, self._ended, self._start = threading.Lock(), False, time.perf_counter()

    def add(self, row: Row) -> None:
        """Note the outcome of the next measurement, with a line on standard error."""
        with self._lock:
            self._rows.append(row)
            self._write()
        print(f"{self._seconds():5.0f} s  {row['name']}: {row.get('reason', row['status'])}", file=sys.stderr)

    def end(self) -> None:
        """Name what is missing as left out, and print the tables."""
        with self._lock:
            if self._ended:
                return
            self._ended, missing = True, self._measurements[len(self._rows) :]
            for number, measurement in enumerate(missing):
                reason = "the time is over" if number else "it was not finished in the time"
                self._rows.append(measurement.row(LEFT_OUT, reason=reason))
            self._write()
            for table in tables(self._rows):
                print()
                print_document(table)
            print(f"\n{f'record: {self._path}' if self._path else json.dumps(self._record())}", flush=True)

    def end_process(self) -> NoReturn:
        """`end`, and leave the process although a measurement goes on, which cannot be interrupted."""
        self.end()
        os._exit(0)

    def _seconds(self) -> float:
        return time.perf_counter() - self._start

    def _record(self) -> dict[str, Any]:
        return {**self._about, "seconds": self._seconds(), "measurements": self._rows}

    def _write(self) -> None:
        if self._path is not None:
            write_json(self._path, self._record())


def tables(rows: list[Row]) -> list[Table]:
    """Tables of the outcomes by kind, and a table of what is missing."""
    measured = [row for row in rows if row["status"] == MEASURED]
    found = [
        Table(["", *heads], [[row["name"], *cells(row)] for row in measured if row["kind"] == kind], caption)
        for kind, (caption, heads, cells) in KINDS.items()
    ]
    missing = [[row["name"], row["status"], row["reason"]] for row in rows if row["status"] in (FAILED, LEFT_OUT)]
    return [table for table in (*found, Table(["", "", "reason"], missing, "Not measured")) if table.rows]


def _step_cells(row: Row) -> list[Any]:
    return [
        Figure("{:.1f} + {:.1f}", row["trace_seconds"], row["compile_seconds"]),
        Figure("{:.4g}", 1e3 * row["step_seconds"]),
        Figure("{:.4g}", row["images_per_second"]),
        UNKNOWN if row["utilisation"] is None else Figure("{:.1f} %", 100 * row["utilisation"]),
        Figure("{:.2f}", (row["state_bytes"] + row["temporary_bytes"]) / GIB),
        UNKNOWN if row["peak_bytes"] is None else Figure("{:.2f}", row["peak_bytes"] / GIB),
    ]


def _published_cells(row: Row) -> list[Any]:
    ratios = [UNKNOWN if row[dtype] is None else Figure("{:.3g}", row[dtype]) for dtype in ("float32", "bfloat16")]
    return [Figure("{:.1f}", row["compile_seconds"]), Figure("{:.4g}", 1e3 * row["step_seconds"]), *ratios]


def _rate_cells(row: Row) -> list[Any]:
    return [
        Figure("{:.1f}", row["first_seconds"]),
        Figure("{:.4g}", 1e3 * row["batch_seconds"]),
        Figure("{:.4g}", row["images_per_second"]),
    ]


def _dtypes_cells(row: Row) -> list[Any]:
    excess = [Figure("{:+.4f}", row[f"excess_of_{what}"]) for what in ("training", "evaluation")]
    return [row["steps"], *(Figure("{:.4f}", value) for value in row["bpd"].values()), *excess]


def _repeat_cells(row: Row) -> list[Any]:
    different = Figure("{} of {}", row["different_arrays"], row["arrays"])
    return [row["steps"], "yes" if row["bit_for_bit"] else "no", different, Figure("{:.2g}", row["largest_difference"])]


# Caption, heads and cells of the tables, by kind.
KINDS = {
    "step": (
        "Training steps",
        ["trace + compile, s", "ms per step", "images/s", "share of peak", "program, GiB", "peak, GiB"],
        _step_cells,
    ),
    "published": (
        "The published code's steps, and ours as shares of them",
        ["compile, s", "ms per step", "ours, float32", "ours, bfloat16"],
        _published_cells,
    ),
    "rate": ("Evaluation per pass, sampling per step", ["first batch, s", "ms per batch", "images/s"], _rate_cells),
    "dtypes": (
        "Bits/dim on digits, by the dtypes of training and evaluation",
        [
            *("steps", "float32, float32", "float32, bfloat16", "bfloat16, float32", "bfloat16, bfloat16"),
            *("training in bfloat16 adds", "evaluation in bfloat16 adds"),
        ],
        _dtypes_cells,
    ),
    "repeat": (
        "The same training twice",
        ["steps", "equal bit for bit", "arrays that differ", "largest difference"],
        _repeat_cells,
    ),
}


if __name__ == "__main__":
    records.run_script(computes=True)

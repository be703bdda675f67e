"""The published DiffEnc code and this code side by side: seconds per step, to trace and compile, and peak memory.

--diffenc=DIR is a checkout of https://github.com/bemigini/DiffEnc, which is only read. For each pair of equal models,
--rounds times in turn, one process trains by the published code (`benchmarks/published.py`) and another by this code
(`benchmarks/train_step.py`), on random images in float32, with gradient, dropout, AdamW and averages. Prints, for each
pair, the medians of both over the rounds, and of the ratio within a round with its range; --json appends a line per
pair, with all measurements, the machine, the versions and both commits. Other programs on the machine slow down both
sides, not always alike. CPU seconds, those of all threads, depend on them less; the load average at the start of each
process is printed and recorded.

The pairs with `small` have width 32 and 4 layers. Ours evaluates the end-point terms on one image in eight, as it does
by default; --as-published evaluates them on all images, as the published code does.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import published
import records

from diffenc_jax.commands.options import positive, writable_file
from diffenc_jax.core import versions
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import RunError, lookup
from diffenc_jax.core.numbers import Figure
from diffenc_jax.core.terminal import print_document

EXAMPLE = "python benchmarks/peers.py --diffenc=DIR --pairs=small-diffenc,small-vdm --json=FILE"
FOLDER = Path(__file__).parent
THEIRS, OURS = "published", "ours"
# The compared quantities, with their names and units in the table.
QUANTITIES = {
    "step_seconds": ("step, s", 1),
    "step_cpu_seconds": ("step, CPU s", 1),
    "trace_and_compile_seconds": ("trace + compile, s", 1),
    "trace_and_compile_cpu_seconds": ("trace + compile, CPU s", 1),
    "peak_bytes": ("peak memory, GB", 1e9),
}


class Pair(NamedTuple):
    """Equal models on both sides.

    Attributes:
      model: file of the published configuration.
      arm: arm of configs/cifar10.py.
      batch: images per step, unless --batch is given.
      small: whether both have `WIDTH` channels and `LAYERS` layers instead of the arm's.
    """

    model: str
    arm: str
    batch: int = 8
    small: bool = False


WIDTH, LAYERS = 32, 4
DIFFENC = Pair("config_model_S3VA_fixed_-13_3_5_0_unet_8_unet_2_m1_to_1.json", "diffenc-8-2")
VDM = Pair("config_model_VDM2_V_fixed_-13_3_5_0_unet_8_simple.json", "vdm-8")
PAIRS = {
    "diffenc-8-2": DIFFENC,
    "vdm-8": VDM,
    "small-diffenc": DIFFENC._replace(batch=16, small=True),
    "small-vdm": VDM._replace(batch=16, small=True),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    published.add_checkout(parser)
    parser.add_argument("--pairs", default=",".join(PAIRS), metavar="NAME,...", help="pairs to compare")
    parser.add_argument("--rounds", type=positive, default=3, help="processes of each side per pair")
    parser.add_argument("--steps", type=positive, default=8, help="number of timed steps per process")
    parser.add_argument("--batch", type=positive, help="images per step (default: 8, of small pairs 16)")
    parser.add_argument("--as-published", action="store_true", help="ours with the published end-point terms")
    parser.add_argument("--json", metavar="FILE", help="file to append the records to")


def run(arguments: argparse.Namespace) -> None:
    pairs = {name: lookup("pair", name, PAIRS) for name in arguments.pairs.split(",")}
    published.check_checkout(arguments.diffenc, *(pair.model for pair in pairs.values()))
    writable_file("json", arguments.json)
    rows, loads = [], []
    for name, pair in pairs.items():
        rounds = measure_rounds(name, commands(pair, arguments), arguments.rounds)
        ratios = ratios_of(rounds)
        rows += table_rows(name, rounds, ratios)
        loads += [record["load_average"] for sides in rounds for record in sides.values()]
        if arguments.json:
            record = {"benchmark": "peers", "pair": name, "ratios": ratios, "rounds": rounds}
            record |= {"as_published": arguments.as_published}
            record |= {"commits": {THEIRS: versions.commit(arguments.diffenc), OURS: versions.commit()}}
            records.append(arguments.json, record)
    load = f"Load average {min(loads):.1f} to {max(loads):.1f}, of {len(os.sched_getaffinity(0))} cores"
    print_document(Table(["", THEIRS, OURS, "ratio", "range of the ratio"], rows, load))


def commands(pair: Pair, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The command of each side."""
    batch = arguments.batch or pair.batch
    theirs = [f"--diffenc={arguments.diffenc}", f"--model={pair.model}", f"--batch={batch}"]
    arm = f"{pair.arm}-published" if arguments.as_published else pair.arm
    ours = [f"--config=cifar10:{arm}", f"--config.train.batch_size={batch}"]
    if pair.small:
        theirs += [f"--width={WIDTH}", f"--layers={LAYERS}"]
        ours += [f"--config.model.score.width={WIDTH}", f"--config.model.score.layers={LAYERS}"]
        ours += [f"--config.model.encoder.width={WIDTH}"] if pair.arm.startswith("diffenc") else []
    scripts = {THEIRS: ("published.py", theirs), OURS: ("train_step.py", ours)}
    return {
        side: [sys.executable, str(FOLDER / script), *options, f"--steps={arguments.steps}"]
        for side, (script, options) in scripts.items()
    }


def measure_rounds(name: str, commands: dict[str, list[str]], rounds: int) -> list[dict[str, dict[str, Any]]]:
    """Per round, the record of each side, measured in turn. Raises RunError if the sides have unequal models."""
    measured = []
    for number in range(1, rounds + 1):
        measured.append({side: measure(command) for side, command in commands.items()})
        theirs, ours = (measured[-1][side] for side in (THEIRS, OURS))
        if theirs["params"] != ours["params"]:
            raise RunError(
                f"{name}: the published model has {theirs['params']:,} parameters, ours {ours['params']:,}; "
                "give a checkout with the published configurations"
            )
        seconds = f"{theirs['step_seconds']:.3g} s per step published, {ours['step_seconds']:.3g} s ours"
        print(f"{name}, round {number} of {rounds}: {seconds}", file=sys.stderr)
    return measured


def measure(command: list[str]) -> dict[str, Any]:
    """The record that a benchmark prints, with the load of the machine when it started. Raises RunError if it fails."""
    load = os.getloadavg()[0]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        raise RunError(f"{Path(command[1]).name} failed: {last}; run it alone for more: {' '.join(command)}")
    return {**json.loads(done.stdout.splitlines()[-1]), "load_average": load}


def ratios_of(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Ours by theirs, per quantity: the ratio of each round, their median, and their range [lowest, highest]."""
    found = {}
    for quantity in QUANTITIES:
        ratios = [record[OURS][quantity] / record[THEIRS][quantity] for record in rounds]
        found[quantity] = {"median": float(np.median(ratios)), "range": [min(ratios), max(ratios)], "rounds": ratios}
    return found


def table_rows(name: str, rounds: list[dict[str, Any]], ratios: dict[str, dict[str, Any]]) -> list[list[str]]:
    """A row per quantity: the medians of both sides, the median ratio, and its range."""
    rows = []
    for quantity, (text, unit) in QUANTITIES.items():
        medians = [float(np.median([record[side][quantity] for record in rounds])) for side in (THEIRS, OURS)]
        ratio, (lowest, highest) = ratios[quantity]["median"], ratios[quantity]["range"]
        values = [Figure("{:.3g}", median / unit) for median in medians]
        ratios_of_rounds = Figure("{:.2f}", ratio), Figure("{:.2f} .. {:.2f}", lowest, highest)
        rows.append([f"{name}: {text}", *values, *ratios_of_rounds])
    return rows


if __name__ == "__main__":
    records.run_script()

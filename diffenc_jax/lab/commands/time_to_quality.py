"""Bits/dim and cost of trainings by several recipes.

Trains every arm, under every seed. The steps of all arms are run in turn, each at the same share of its own training,
so that other load on the machine slows all of them. Then the averaged parameters are evaluated, all under the same
noise; this is not timed. Prints the bits/dim of every seed, the mean regret if the true log p is known, the steps, the
TFLOP (1e12), and the seconds and FLOPs divided by those of the first arm. The values of each seed are kept in --out, so
that the same command resumes.

Choose settings with --held-out, so that only fixed settings are evaluated on the test images.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from etils import epy

from diffenc_jax.commands.options import add_config, load_arguments_config, location, positive
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.core.numbers import Figure, format_number
from diffenc_jax.lab.commands.significance import seed_numbers

with epy.lazy_imports():  # help needs none of them
    import numpy as np

    from diffenc_jax import api
    from diffenc_jax.core import terminal, versions
    from diffenc_jax.lab.comparisons import quality
    from diffenc_jax.train import flops

EXAMPLE = "diffenc time-to-quality --config=digits --out=quality --arm=vdm --arm=vdm-fast"
COSTS = "seconds", "FLOPs"


def add_arguments(parser: ArgumentParser) -> None:
    text = "an arm, with its own changes after it, such as --arm='vdm-fast train.learning_rate=0.01'; repeatable"
    parser.add_argument("--arm", action="append", required=True, help=text)
    parser.add_argument("--seeds", type=seed_numbers, default=(0, 1, 2), help="seeds (default: 0-2)")
    text = "evaluate on the last N training images, and train on the others (default: on eval.split)"
    parser.add_argument("--held-out", type=positive, metavar="N", help=text)
    parser.add_argument("--equal-flops", action="store_true", help="train every arm for the FLOPs of the first one")
    parser.add_argument("--out", type=location, required=True, metavar="DIR", help="folder of the values")
    add_config(parser)


def run(arguments: Namespace) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    changes = [*arguments.overrides]
    if arguments.held_out:
        changes.append(f"data.source={_held_out(arguments)}")
    values = []
    for seed in arguments.seeds:
        path = arguments.out / f"seed{seed}.json"
        if not path.exists():
            configs = dict[str, Any]()
            for arm in arguments.arm:
                name, *own = arm.split()
                config = flops.load_config(f"{arguments.config}:{name}", [*changes, f"seed={seed}", *own])
                first = configs.get(arguments.arm[0], config)
                configs[arm] = flops.with_flops_of(config, first) if arguments.equal_flops else config
            path.write_text(json.dumps(quality.trained(configs), indent=1) + "\n")
        values.append(json.loads(path.read_text()))
        require([*values[-1]] == arguments.arm, f"{path} is of other arms; choose another --out")
        print(f"seed {seed}:", {arm: round(own["bpd"], 4) for arm, own in values[-1].items()}, file=sys.stderr)
    seeds = (f"seed {seed}" for seed in arguments.seeds)
    regret = ["mean regret"] * ("regret" in values[0][arguments.arm[0]])
    heads = ["", *seeds, "mean", *regret, "steps", "TFLOP", "seconds by the first", "FLOPs by the first"]
    terminal.print_document(Table(heads, _rows(values), versions.device(), "bits/dim"))


def _held_out(arguments: Namespace) -> Path:
    """A file whose test images are training images that are held out of its own training images."""
    images = np.asarray(api.Run(load_arguments_config(arguments)).train)
    path = arguments.out / f"held-out-{arguments.held_out}.npz"
    np.savez(path, train=images[: -arguments.held_out], test=images[-arguments.held_out :])
    return path.absolute()


def _rows(values: list[dict[str, dict[str, float]]]) -> list[list[Any]]:
    """A row per arm, from the values by arm under each seed."""
    rows, first = list[list[Any]](), next(iter(values[0]))
    for arm, own in values[0].items():
        bits = [each[arm]["bpd"] for each in values]
        shares = (sum(each[arm][cost] for each in values) / sum(each[first][cost] for each in values) for cost in COSTS)
        regret = [each[arm]["regret"] for each in values] if "regret" in own else []
        means = [float(np.mean(each)) for each in (bits, regret) if each]
        costs = Figure("{:,}", own["steps"]), Figure("{:.3g}", own["FLOPs"] / 1e12)
        rows.append(
            [f"`{arm}`", *map(format_number, (*bits, *means)), *costs, *(Figure("{:.3f}", share) for share in shares)]
        )
    return rows

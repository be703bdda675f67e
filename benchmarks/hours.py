"""Hours of whole trainings on one device of a kind, from FLOPs alone.

Estimates: a training's FLOPs at --share of the device's bfloat16 peak, without evaluations. The last column, by the
fast recipe, is an extrapolation from small networks, and empty for learned schedules. Prints a table.
"""

import argparse
import contextlib

import records

from diffenc_jax.config import load_config
from diffenc_jax.config.recipe import FAST
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.numbers import Figure
from diffenc_jax.core.terminal import print_document
from diffenc_jax.lab.costs.machines import TARGETS
from diffenc_jax.train.flops import count

EXAMPLE = "python benchmarks/hours.py --share=0.4"
ARMS = (
    *("mnist:vdm", "mnist", "cifar10:vdm-8", "cifar10:diffenc-8-2", "cifar10:vdm", "cifar10", "cifar10:vdm-augmented"),
    *("imagenet32", "imagenet64"),
)
DEVICES, FAST_ON = ("b200", "h100", "a100", "l4", "rtx4090", "v5e", "v6e"), "h100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--share", type=float, default=0.4, help="share of the peak that a step reaches (default: 0.4)")


def run(arguments: argparse.Namespace) -> None:
    heads = ["", "million steps", "TFLOP per step", *(f"{name}, h" for name in DEVICES), f"{FAST_ON} by `{FAST}`, h"]
    rows = []
    for arm in ARMS:
        config = load_config(arm)
        flops = count(config).flops_per_step
        trainings = [(config.train.steps * flops, name) for name in DEVICES]
        with contextlib.suppress(InputError):  # a learned schedule
            fast = load_config(f"{arm.partition(':')[0]}:{config.arm}{FAST}")
            trainings.append((fast.train.steps * count(fast).flops_per_step, FAST_ON))
        hours = (total / (arguments.share * TARGETS[name].flops) / 3600 for total, name in trainings)
        numbers = [config.train.steps / 1e6, flops / 1e12, *hours]
        cells = [Figure("{:.3g}" if number < 1000 else "{:,.0f}", number) for number in numbers]
        rows.append([f"`{arm}`", *cells, *[""] * (len(heads) - 1 - len(cells))])
    print_document(Table(heads, rows, f"Hours at {arguments.share:.0%} of the peak", "h"))


if __name__ == "__main__":
    records.run_script()

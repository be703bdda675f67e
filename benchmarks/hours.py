"""Hours of whole trainings on one device of a kind, from FLOPs alone.

Estimates: a training's FLOPs at --share of the device's bfloat16 peak, without evaluations. Prints a table.
"""

import argparse

import records

from diffenc_jax.config import load_config
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.lab.costs.targets import TARGETS
from diffenc_jax.model import spec_of
from diffenc_jax.train.flops import count

EXAMPLE = "python benchmarks/hours.py --share=0.4"
ARMS = (
    *("mnist:vdm", "mnist", "cifar10:vdm-8", "cifar10:diffenc-8-2", "cifar10:vdm", "cifar10", "cifar10:vdm-augmented"),
    *("imagenet32", "imagenet64"),
)
DEVICES = ("b200", "h100", "a100", "l4", "rtx4090", "v5e", "v6e")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--share", type=float, default=0.4, help="share of the peak that a step reaches (default: 0.4)")


def run(arguments: argparse.Namespace) -> None:
    rows = []
    for arm in ARMS:
        config = load_config(arm)
        flops = count(config, spec_of(config)).flops_per_step
        seconds = (flops * config.train.steps / (arguments.share * TARGETS[name].flops) for name in DEVICES)
        numbers = [config.train.steps / 1e6, flops / 1e12, *(each / 3600 for each in seconds)]
        rows.append([f"`{arm}`", *(f"{number:.3g}" if number < 1000 else f"{number:,.0f}" for number in numbers)])
    heads = ["", "million steps", "TFLOP per step", *(f"{name}, h" for name in DEVICES)]
    print(markdown(Table(heads, rows)))


if __name__ == "__main__":
    records.run_script()

"""Hours of whole trainings on one device of a kind, from FLOPs alone.

Estimates: a training's FLOPs at --share of the device's bfloat16 peak, without evaluations. The last column is
of the fast recipe, in a third of the steps: as for small networks. It is empty for learned schedules. Prints a table.
"""

import argparse
import contextlib
import math

import records

from diffenc_jax.config import load_config
from diffenc_jax.config.recipe import FAST
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.costs.targets import TARGETS
from diffenc_jax.model import spec_of
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
        (steps, flops), fast = cost(arm), f"{arm if ':' in arm else f'{arm}:{load_config(arm).arm}'}{FAST}"
        trainings = [(steps * flops, name) for name in DEVICES]
        with contextlib.suppress(InputError):  # a learned schedule
            trainings.append((math.prod(cost(fast)), FAST_ON))
        hours = (total / (arguments.share * TARGETS[name].flops) / 3600 for total, name in trainings)
        numbers = [
            f"{number:.3g}" if number < 1000 else f"{number:,.0f}" for number in (steps / 1e6, flops / 1e12, *hours)
        ]
        rows.append([f"`{arm}`", *numbers, *[""] * (len(heads) - 1 - len(numbers))])
    print(markdown(Table(heads, rows)))


def cost(arm: str) -> tuple[int, float]:
    """Steps of a training, and FLOPs of each."""
    config = load_config(arm)
    return config.train.steps, count(config, spec_of(config)).flops_per_step


if __name__ == "__main__":
    records.run_script()

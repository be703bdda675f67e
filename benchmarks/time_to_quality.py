"""Bits/dim and cost of trainings by several recipes.

Trains every arm, under every seed. The steps of all arms are run in turn, each at the same share of its own training,
so that other load on the machine slows all of them. Then the averaged parameters are evaluated, all under the same
noise; this is not timed. Prints the bits/dim of every seed, the mean regret if the true log p is known, the steps, the
TFLOP (1e12), and the seconds and FLOPs divided by those of the first arm. The values of each seed are kept in --out, so
that the same command resumes.

Choose settings with --held-out, so that only fixed settings are evaluated on the test images.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np
import records

import diffenc_jax as dj
from diffenc_jax.commands.arguments import add_config, load_arguments_config, location, positive
from diffenc_jax.core import versions
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.core.errors import require
from diffenc_jax.lab.commands.significance import seed_numbers
from diffenc_jax.train.flops import count, load_config

EXAMPLE = "python benchmarks/time_to_quality.py --config=digits --out=quality --arm=vdm --arm=vdm-fast"
COSTS = "seconds", "FLOPs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "an arm, with its own changes after it, such as --arm='vdm-fast train.learning_rate=0.01'; repeatable"
    parser.add_argument("--arm", action="append", required=True, help=text)
    parser.add_argument("--seeds", type=seed_numbers, default=(0, 1, 2), help="seeds (default: 0-2)")
    text = "evaluate on the last N training images, and train on the others (default: on eval.split)"
    parser.add_argument("--held-out", type=positive, metavar="N", help=text)
    parser.add_argument("--out", type=location, required=True, metavar="DIR", help="folder of the values")
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    changes = [*arguments.overrides]
    if arguments.held_out:
        changes.append(f"data.source={held_out(arguments)}")
    values = []
    for seed in arguments.seeds:
        path = arguments.out / f"seed{seed}.json"
        if not path.exists():
            configs = {}
            for arm in arguments.arm:
                name, *own = arm.split()
                configs[arm] = load_config(f"{arguments.config}:{name}", [*changes, f"seed={seed}", *own])
            path.write_text(json.dumps(trained(configs), indent=1) + "\n")
        values.append(json.loads(path.read_text()))
        require([*values[-1]] == arguments.arm, f"{path} is of other arms; choose another --out")
        print(f"seed {seed}:", {arm: round(own["bpd"], 4) for arm, own in values[-1].items()}, file=sys.stderr)
    seeds = (f"seed {seed}" for seed in arguments.seeds)
    regret = ["mean regret"] * ("regret" in values[0][arguments.arm[0]])
    heads = ["", *seeds, "mean", *regret, "steps", "TFLOP", "seconds by the first", "FLOPs by the first"]
    rows = [[f"`{arm}`", *cells] for arm, cells in summary(values).items()]
    print(markdown(Table(heads, rows, versions.device())))


def held_out(arguments: argparse.Namespace) -> Path:
    """A file whose test images are training images that are held out of its own training images."""
    images = np.asarray(dj.Run(load_arguments_config(arguments)).train)
    path = arguments.out / f"held-out-{arguments.held_out}.npz"
    np.savez(path, train=images[: -arguments.held_out], test=images[-arguments.held_out :])
    return path.absolute()


class Training:
    """One run, whose steps are taken and timed from outside."""

    def __init__(self, config: dj.Config):
        self.run = dj.Run(config)
        self.state, self.steps, self.seconds = self.run.init(), 0, 0.0
        self.run.step(self.run.init(), self.run.batch(0))  # compiles

    def advance(self, steps: int) -> None:
        """Take steps until there are `steps`."""
        for number in range(self.steps, steps):
            batch = jax.block_until_ready(self.run.batch(number))
            start = time.perf_counter()
            self.state, _ = jax.block_until_ready(self.run.step(self.state, batch))
            self.seconds += time.perf_counter() - start
        self.steps = steps

    def values(self) -> dict[str, float]:
        """Bits/dim of the averaged parameters, and what they cost."""
        record = self.run.evaluate(self.state)
        regret = {"regret": record["regret"]["bpd"]} if "regret" in record else {}
        bits, flops = record["bpd"]["total"], count(self.run.config, self.run.model.spec).flops_per_step
        return {"bpd": bits, **regret, "steps": self.steps, "seconds": self.seconds, "FLOPs": self.steps * flops}


def trained(configs: dict[str, dj.Config]) -> dict[str, dict[str, float]]:
    """The values of one training each."""
    trainings = {arm: Training(config) for arm, config in configs.items()}
    parts = max(config.train.steps for config in configs.values())
    for part in range(1, parts + 1):
        for arm, training in trainings.items():
            training.advance(configs[arm].train.steps * part // parts)
    return {arm: training.values() for arm, training in trainings.items()}


def summary(values: list[dict[str, dict[str, float]]]) -> dict[str, list[str]]:
    """Cells of the table by arm, from the values by arm under each seed."""
    rows, first = {}, next(iter(values[0]))
    for arm, own in values[0].items():
        bits = [each[arm]["bpd"] for each in values]
        shares = (sum(each[arm][cost] for each in values) / sum(each[first][cost] for each in values) for cost in COSTS)
        costs = [f"{own['steps']:,}", f"{own['FLOPs'] / 1e12:.3g}", *(f"{share:.3f}" for share in shares)]
        regret = [np.mean([each[arm]["regret"] for each in values])] if "regret" in own else []
        rows[arm] = [*(f"{number:.4f}" for number in (*bits, np.mean(bits), *regret)), *costs]
    return rows


if __name__ == "__main__":
    records.run_script(computes=True)

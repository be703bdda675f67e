"""Bits/dim and cost of an arm's training by the fast recipe, by the shipped one and by the published one.

Trains every seed of ARM, ARM-fast and ARM-published. Their steps are run in turn, each at the same share of its own
training, so that other load on the machine slows all of them. Then the averaged parameters are evaluated on the split
of --config, all under the same noise; this is not timed. The values of each seed are kept in --out, so that the same
command resumes. Prints the bits/dim, and the steps, seconds and FLOPs as shares of those of ARM.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import records

from diffenc_jax.commands.arguments import add_config, load_arguments_config, positive
from diffenc_jax.config import Config
from diffenc_jax.core import versions
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.losses import bound
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.train.flops import count, load_config
from diffenc_jax.train.step import Program

EXAMPLE = "python benchmarks/time_to_quality.py --config=configs/digits.py:vdm --out=quality"
RECIPES = {"shipped": "", "fast": "-fast", "published": "-published"}
COSTS = ("steps", "seconds", "FLOPs")
PASSES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the values")
    parser.add_argument("--seeds", type=positive, default=3, help="number of seeds, from 0")
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    config, rows = load_arguments_config(arguments), []
    name = arguments.config.partition(":")[0]
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"{versions.device()}\n\n| seed | recipe | bits/dim | {' | '.join(COSTS)} |\n|---|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        path = arguments.out / f"{config.name}-{config.arm}-seed{seed}.json"
        changes = [*arguments.overrides, f"seed={seed}"]
        if not path.exists():
            arms = {recipe: load_config(f"{name}:{config.arm}{suffix}", changes) for recipe, suffix in RECIPES.items()}
            path.write_text(json.dumps(trained(arms)) + "\n")
        rows.append(shares(json.loads(path.read_text())))
        print_rows(seed, rows[-1])
    print_rows("mean", {recipe: np.mean([row[recipe] for row in rows], axis=0) for recipe in RECIPES})


def print_rows(seed: int | str, values: dict[str, np.ndarray]) -> None:
    for recipe, (bits, *costs) in values.items():
        print(f"| {seed} | {recipe} | {bits:.4f} | {' | '.join(f'{cost:.3f}' for cost in costs)} |", flush=True)


class Training:
    """One run, whose steps are taken and timed from outside."""

    def __init__(self, experiment: Experiment):
        config, mesh = experiment.config, make_mesh(1, jax.devices()[:1])
        program = Program(experiment.model, config, mesh)
        self._step = program.compiled()
        self._batches = Batches(experiment.dataset.examples("train"), config, mesh)
        self.state, self.steps, self.seconds = program.init(), 0, 0.0

    def advance(self, steps: int) -> None:
        """Take steps until there are `steps`."""
        for number in range(self.steps, steps):
            batch = jax.block_until_ready(self._batches(number))
            start = time.perf_counter()
            self.state, _ = jax.block_until_ready(self._step(self.state, batch))
            self.seconds += time.perf_counter() - start
        self.steps = steps


def bits(model: Model, params: Params, batch: Batch, key: jax.Array) -> jax.Array:
    """Bits/dim of the images, the mean of a few passes."""
    process = bind_to(model, params, batch)
    steps = None if model.loss.depth is None else model.steps(params, model.loss)
    nats = jax.lax.map(lambda key: bound(process, batch.pixels, key, steps).total.mean(), jax.random.split(key, PASSES))
    return nats.mean() / (model.spec.dims * np.log(2))


def trained(configs: dict[str, Config]) -> dict[str, dict[str, float]]:
    """Bits/dim after training and the costs, by recipe."""
    experiments = {recipe: Experiment.load(config) for recipe, config in configs.items()}
    runs = {recipe: Training(experiment) for recipe, experiment in experiments.items()}
    parts = max(config.train.steps for config in configs.values())
    for part in range(1, parts + 1):
        for recipe, training in runs.items():
            training.advance(configs[recipe].train.steps * part // parts)
    values = {}
    for recipe, training in runs.items():
        model, dataset = experiments[recipe].model, experiments[recipe].dataset
        test = jax.tree.map(jnp.asarray, dataset.examples(configs[recipe].eval.split))
        found = jax.jit(bits, static_argnums=0)(model, training.state.ema, test, jax.random.key(0))
        flops = training.steps * count(configs[recipe], model.spec).flops_per_step
        values[recipe] = {"bpd": float(found), "steps": training.steps, "seconds": training.seconds, "FLOPs": flops}
    return values


def shares(values: dict[str, dict[str, float]]) -> dict[str, np.ndarray]:
    """Bits/dim by recipe, and then its costs in units of the shipped recipe's."""
    costs = {recipe: np.array([own[cost] for cost in COSTS]) for recipe, own in values.items()}
    return {recipe: np.array([own["bpd"], *costs[recipe] / costs["shipped"]]) for recipe, own in values.items()}


if __name__ == "__main__":
    records.run_script(computes=True)

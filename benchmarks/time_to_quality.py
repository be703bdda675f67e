"""How much sooner importance-sampled times and fewer end points reach the final quality of the published recipe.

Trains every seed twice, with steps in turn, so that other load on the machine slows both: by the published recipe
(uniform times, all end points), and with train.time_sampling=importance and the train.ends_every of --config. Every few
steps both averages are evaluated on the split of --config under the same noise; this is not timed. The target is the
published recipe's bits/dim at train.steps. Each seed's curves are kept in --out, so that the same command resumes.
Prints a table and the ratios of steps and of seconds to the target.
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
from diffenc_jax.train.step import Program

EXAMPLE = "python benchmarks/time_to_quality.py --config=configs/digits.py --out=quality"
RECIPES = {
    "published": {"train.time_sampling": "uniform", "train.ends_every": 1},
    "ours": {"train.time_sampling": "importance"},
}
EVERY, PASSES = 25, 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the curves")
    parser.add_argument("--seeds", type=positive, default=3, help="number of seeds, from 0")
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    config, shares = load_arguments_config(arguments), []
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"{versions.device()}\n\n| seed | target, bits/dim | steps | seconds |\n|---|---|---|---|")
    for seed in range(arguments.seeds):
        path = arguments.out / f"seed{seed}.json"
        if not path.exists():
            path.write_text(json.dumps(curves(config.replace({"seed": seed}))) + "\n")
        found = reached(json.loads(path.read_text()))
        shares.append(found["seconds"])
        print(f"| {seed} | {found['target']:.4f} | {found['steps']:.3f} | {found['seconds']:.3f} |", flush=True)
    print(f"\nmean share of the published recipe's seconds: {np.mean(shares):.3f}")


class Training:
    """One run, whose steps are taken and timed from outside."""

    def __init__(self, config: Config, model: Model, images: Batch):
        mesh = make_mesh(1, jax.devices()[:1])
        program = Program(model, config, mesh)
        self._step, self._batches = program.compiled(), Batches(images, config, mesh)
        self.state, self.seconds = program.init(), 0.0

    def step(self, number: int) -> None:
        start = time.perf_counter()
        self.state, _ = jax.block_until_ready(self._step(self.state, self._batches(number)))
        self.seconds += time.perf_counter() - start


def bits(model: Model, params: Params, batch: Batch, key: jax.Array) -> jax.Array:
    """Bits/dim of the images, the mean of a few passes."""
    process = bind_to(model, params, batch)
    steps = None if model.loss.depth is None else model.steps(params, model.loss)
    nats = jax.lax.map(lambda key: bound(process, batch.pixels, key, steps).total.mean(), jax.random.split(key, PASSES))
    return nats.mean() / (model.spec.dims * np.log(2))


def curves(config: Config) -> dict[str, list[float]]:
    """Steps, and of both recipes bits/dim and seconds after so many steps."""
    experiment = Experiment.load(config)
    model, dataset = experiment.model, experiment.dataset
    test = jax.tree.map(jnp.asarray, dataset.examples(config.eval.split))
    evaluate = jax.jit(lambda params: bits(model, params, test, jax.random.key(0)))
    runs = {
        name: Training(config.replace(changes), model, dataset.examples("train")) for name, changes in RECIPES.items()
    }
    found = {"steps": [], "published": [], "ours": [], "published_seconds": [], "ours_seconds": []}
    for number in range(config.train.steps):
        for run in runs.values():
            run.step(number)
        if (number + 1) % EVERY == 0:
            found["steps"].append(number + 1)
            for name, run in runs.items():
                found[name].append(float(evaluate(run.state.ema)))
                found[f"{name}_seconds"].append(run.seconds)
    return found


def reached(found: dict[str, list[float]]) -> dict[str, float]:
    """The target, and the shares of steps and seconds after which ours first reaches it, interpolated."""
    target, ours = found["published"][-1], np.minimum.accumulate(found["ours"])
    if ours[-1] > target:
        return {"target": target, "steps": np.inf, "seconds": np.inf}
    steps, seconds = (np.interp(-target, -ours, found[name]) for name in ("steps", "ours_seconds"))
    return {"target": target, "steps": steps / found["steps"][-1], "seconds": seconds / found["published_seconds"][-1]}


if __name__ == "__main__":
    records.run_script(computes=True)

"""How much sooner importance-sampled times and fewer end points reach what the published recipe reaches at its end.

python benchmarks/time_to_quality.py --config=configs/digits.py --out=DIR [--seeds=3] [--config.key=value ...]

Trains every seed twice, step by step in turn, so that whatever else the machine does slows both: by the published
recipe (uniform times, all end points) and by train.time_sampling=importance with train.ends_every as --config has it.
Every few steps both averages are evaluated on --config's split under the same noise, which is not timed. The target is
what the published recipe reaches at train.steps. Keeps each seed in DIR, so that the same command goes on where it was
stopped; prints a table and the ratios of steps and of seconds to the target.
"""

import copy
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict

from diffenc_jax import cli, environment, memory
from diffenc_jax.config import with_changes
from diffenc_jax.data.dataset import load
from diffenc_jax.diffusion.times import antithetic
from diffenc_jax.model import ImageSpec, Model, build
from diffenc_jax.train import sharding
from diffenc_jax.train.batches import Batches, needed
from diffenc_jax.train.step import make_program

OUT = flags.DEFINE_string("out", None, "Folder for what is found.", required=True)
SEEDS = flags.DEFINE_integer("seeds", 3, "How many seeds, from 0.", lower_bound=1)
PUBLISHED = {"train.time_sampling": "uniform", "train.ends_every": 1}
OURS = {"train.time_sampling": "importance"}
EVERY, PASSES = 25, 8


class Training:
    """One run, whose steps are taken and timed from outside."""

    def __init__(self, config: ConfigDict, model: Model, images: np.ndarray):
        mesh = sharding.make_mesh(1, jax.devices()[:1])
        program = make_program(model, config, mesh)
        self._step, self._batch = program.compiled(), Batches(images, config, mesh)
        self.state, self.seconds = program.init(), 0.0

    def step(self, number: int) -> None:
        start = time.perf_counter()
        self.state, _ = jax.block_until_ready(self._step(self.state, self._batch(number)))
        self.seconds += time.perf_counter() - start


def bits(model: Model, params, pixels: jax.Array, key: jax.Array) -> jax.Array:
    """Bits/dim of the images, the mean of a few looks."""

    def look(key):
        key_t, key_order, key_noise = jax.random.split(key, 3)
        t = jax.random.permutation(key_order, antithetic(jax.random.uniform(key_t), len(pixels)))
        return model.terms(params, pixels, model.draw_noise(key_noise, t)).total.mean()

    return jax.lax.map(look, jax.random.split(key, PASSES)).mean() / (model.spec.dims * np.log(2))


def curves(config: ConfigDict) -> dict[str, list[float]]:
    """Of both recipes: bits/dim after so many steps and seconds."""
    dataset = load(config, "train", config.eval.split, part=needed(config, sharding.make_mesh(1, jax.devices()[:1])))
    model = build(config, ImageSpec(dataset.shape, dataset.levels))
    images = dataset.splits[config.eval.split]
    pixels = jnp.asarray(images[np.arange(len(images))])
    evaluate = jax.jit(lambda params: bits(model, params, pixels, jax.random.key(0)))
    recipes = [with_changes(copy.deepcopy(config), changes) for changes in (PUBLISHED, OURS)]
    runs = [Training(recipe, model, dataset.splits["train"]) for recipe in recipes]
    found = {"steps": [], "published": [], "ours": [], "published_seconds": [], "ours_seconds": []}
    for number in range(config.train.steps):
        for run in runs:
            run.step(number)
        if (number + 1) % EVERY == 0:
            found["steps"].append(number + 1)
            for name, run in zip(("published", "ours"), runs, strict=True):
                found[name].append(float(evaluate(run.state.ema)))
                found[f"{name}_seconds"].append(run.seconds)
    return found


def reached(found: dict[str, list[float]]) -> dict[str, float]:
    """The target, and the shares of steps and seconds after which ours is below it for the first time, interpolated."""
    target, ours = found["published"][-1], np.asarray(found["ours"])
    if ours.min() > target:
        return {"target": target, "steps": np.inf, "seconds": np.inf}
    after = int(np.argmax(ours <= target))
    place = after - (target - ours[after]) / (ours[after - 1] - ours[after])
    steps, seconds = (np.interp(place, range(len(ours)), found[name]) for name in ("steps", "ours_seconds"))
    return {"target": target, "steps": steps / found["steps"][-1], "seconds": seconds / found["published_seconds"][-1]}


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    folder = Path(OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{environment.device()}\n\n| seed | target, bits/dim | steps | seconds |\n|---|---|---|---|")
    shares = []
    for seed in range(SEEDS.value):
        path = folder / f"seed{seed}.json"
        if not path.exists():
            config = with_changes(copy.deepcopy(cli.CONFIG.value), {"seed": seed})
            path.write_text(json.dumps(curves(config)) + "\n")
        found = reached(json.loads(path.read_text()))
        shares.append(found["seconds"])
        print(f"| {seed} | {found['target']:.4f} | {found['steps']:.3f} | {found['seconds']:.3f} |", flush=True)
    print(f"\nmean share of the published recipe's seconds: {np.mean(shares):.3f}")


if __name__ == "__main__":
    memory.prepare()
    app.run(main, flags_parser=cli.parse)

"""Effect of train.time_sampling and train.ends_every on the variance of the gradient, for trained runs.

Uses each run's newest parameters and the training batches of its configuration. The variance is the trace of the
gradient's covariance over batches, times and noise, without dropout, relative to that of the published recipe: uniform
times and all end points. The given error is two standard errors of the ratio, over batches that both recipes see.
"""

import argparse
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import records

from diffenc_jax.commands.arguments import positive
from diffenc_jax.core.streams import stream, uniform
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.times import antithetic, by_density
from diffenc_jax.model import Model, Params
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.runs.trained import Trained, open_trained
from diffenc_jax.train.gradients import StepInputs, every_kth, gradient
from diffenc_jax.train.state import LossHistory

EXAMPLE = "python benchmarks/gradient_variance.py runs/digits-diffenc-seed0 --batches=100"
RECIPES = {
    "uniform times, all end points": (False, 1),
    "uniform times, end points of one in 8": (False, 8),
    "times by loss, all end points": (True, 1),
    "times by loss, end points of one in 8": (True, 8),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument("--batches", type=positive, default=200, help="number of batches")


def run(arguments: argparse.Namespace) -> None:
    for workdir in arguments.workdirs:
        trained = open_trained(workdir, needs_training_images=True)
        config, found = trained.config, squared_deviations(trained, arguments.batches)
        published = next(iter(found.values()))
        print(f"\n{config.name}:{config.arm}, step {trained.step}, batch {config.train.batch_size}\n")
        print("| | relative variance |\n|---|---|")
        for name, values in found.items():
            ratio = values.mean() / published.mean()
            error = np.std(values - ratio * published, ddof=1) / np.sqrt(len(values)) / published.mean()
            print(f"| {name} | {ratio:.3f} ± {2 * error:.3f} |")


def flat_gradient(
    model: Model,
    params: Params,
    losses: LossHistory,
    batch: Batch,
    key: jax.Array,
    recipe: tuple[bool, int] = (False, 1),
) -> tuple[jax.Array, LossHistory]:
    """The gradient as one vector, and `losses` with the diffusion terms of this batch."""
    by_loss, ends_every = recipe
    size = len(batch.pixels)
    k = math.gcd(ends_every, size)
    time_key, noise_key, first_key = jax.random.split(key, 3)
    s = antithetic(uniform(time_key), size)
    t, weight = by_density(losses.mass(), s) if by_loss else (s, jnp.ones_like(s))
    endpoints = every_kth(batch, k, first=jax.random.randint(first_key, (), 0, k))
    draw = StepInputs(batch, model.draw_noise(noise_key, t, size // k), weight, None, endpoints)
    outputs, grads = gradient(model, params, draw)
    flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads)])
    return flat, losses.plus(outputs.t, outputs.terms.diffusion)


def squared_deviations(trained: Trained, batches: int) -> dict[str, np.ndarray]:
    """‖g - E g‖² of the gradient g of each batch, [batches], by recipe."""
    batch = Batches(trained.dataset.examples("train"), trained.config, trained.mesh)
    keys = jax.random.split(stream(0, "gradient variance"), batches)
    losses, found = LossHistory.empty(), {}
    for name, recipe in RECIPES.items():
        compute = jax.jit(partial(flat_gradient, trained.model, recipe=recipe))
        gradients = []
        for number, key in enumerate(keys):
            flat, seen = compute(trained.params, losses, batch(number), key)
            gradients.append(np.asarray(flat, np.float64))
            losses = losses if recipe[0] else seen  # the density follows the losses at uniform times
        gradients = np.stack(gradients)
        found[name] = np.sum((gradients - gradients.mean(axis=0)) ** 2, axis=1) * batches / (batches - 1)
    return found


if __name__ == "__main__":
    records.run_script(computes=True)

"""What the options of a training step do to the variance of its gradient, for trained runs.

python benchmarks/gradient_variance.py WORKDIR... [--batches=200]

For each run's newest parameters and training batches, as its configuration has them: the trace of the gradient's
covariance over batches, times and noise, without dropout, relative to that of the published recipe, uniform times and
all end points. Two standard errors are of the ratio, over batches that both see.
"""

import argparse
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from diffenc_jax import workdir as workdirs
from diffenc_jax.model import Model
from diffenc_jax.streams import stream
from diffenc_jax.train.batches import Batches
from diffenc_jax.train.draws import draw
from diffenc_jax.train.gradients import gradient
from diffenc_jax.train.times import LossByTime
from diffenc_jax.trained import Trained, open_trained

RECIPES = {
    "uniform times, all end points": (False, 1),
    "uniform times, end points of one in 8": (False, 8),
    "times by loss, all end points": (True, 1),
    "times by loss, end points of one in 8": (True, 8),
}


def look(model: Model, params, losses: LossByTime, pixels: jax.Array, key: jax.Array, by_loss: bool, ends_every: int):
    """The gradient, flat, and `losses` with what was seen."""
    k = math.gcd(ends_every, len(pixels))
    first = jax.random.randint(jax.random.fold_in(key, 1), (), 0, k)
    drawn = draw(model, pixels, losses if by_loss else None, *jax.random.split(key), first, k)
    looked, grads = gradient(model, params, drawn, None, parts=1, devices=1)
    flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads)])
    return flat, losses.plus(looked.t, looked.terms.diffusion)


def squared_deviations(run: Trained, batches: int) -> dict[str, np.ndarray]:
    """By recipe: ‖g - E g‖² of each batch's gradient g, [batches]."""
    batch = Batches(run.dataset.splits["train"], run.config, run.mesh)
    keys = jax.random.split(stream(0, "gradient variance"), batches)
    losses, found = LossByTime.empty(), {}
    for name, (by_loss, ends_every) in RECIPES.items():
        look_at = jax.jit(partial(look, run.model, by_loss=by_loss, ends_every=ends_every))
        gradients = []
        for number, key in enumerate(keys):
            flat, seen = look_at(run.params, losses, batch(number), key)
            gradients.append(np.asarray(flat, np.float64))
            losses = losses if by_loss else seen  # the table is that of uniform times
        gradients = np.stack(gradients)
        found[name] = np.sum((gradients - gradients.mean(axis=0)) ** 2, axis=1) * batches / (batches - 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workdirs", nargs="+", type=Path)
    parser.add_argument("--batches", type=int, default=200)
    arguments = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    for workdir in arguments.workdirs:
        run = open_trained(workdirs.configuration(workdir), workdir, fitting=True)
        found = squared_deviations(run, arguments.batches)
        published = next(iter(found.values()))
        size = run.config.train.batch_size
        print(
            f"\n{run.config.name}:{run.config.arm}, step {run.step}, batch {size}\n\n| | relative variance |\n|---|---|"
        )
        for name, values in found.items():
            ratio = values.mean() / published.mean()
            error = np.std(values - ratio * published, ddof=1) / np.sqrt(len(values)) / published.mean()
            print(f"| {name} | {ratio:.3f} ± {2 * error:.3f} |")


if __name__ == "__main__":
    main()

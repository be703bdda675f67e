"""Bits/dim of a run's first test images by one and by many draws of the whole path, to see how much the bound adds.

The mean of one draw is the bound at this depth. Many draws approach the run's own likelihood from above. The errors of
the mean over images are by noise. If the true bits/dim of the images are known, the caption has them.
"""

import argparse
import math

import numpy as np
import records
from regrets import FITTED

import diffenc_jax as dj
from diffenc_jax.commands.arguments import location, positive
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.core.numbers import UNKNOWN, with_error

EXAMPLE = "python benchmarks/importance.py runs/digits-vdm-fast"
DRAWS, MOST_STEPS = (1, 16, 64), 16_000  # steps of all draws of an image
DEPTHS = {
    "T = 100": {"loss.depth": 100},
    **{f"T = {depth}, fitted": {"loss.depth": depth, **FITTED} for depth in (100, 250, 1000)},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=location, help="folder of a run")
    parser.add_argument("--images", type=positive, default=16, help="number of test images (default: 16)")


def run(arguments: argparse.Namespace) -> None:
    rows = []
    for name, changes in DEPTHS.items():
        trained = dj.open(arguments.workdir, changes)
        nats, images = math.log(2) * trained.model.spec.dims, trained.test[: arguments.images]
        row = [name, *[UNKNOWN] * len(DRAWS)]
        for column, draws in enumerate(DRAWS, 1):
            if draws * trained.config.loss.depth > MOST_STEPS:
                break
            settings = {"num_draws": draws, "passes": max(2, 8 // draws)}
            values, errors = trained.log_prob(images, estimator="importance_weighted", **settings)
            row[column] = with_error(-values.mean() / nats, np.sqrt((errors**2).sum()) / (len(images) * nats))
        rows.append(row)
    true = trained.dataset.split(trained.config.eval.split).true_bits
    about = f"{arguments.images} images" + ("" if true is None else f"; the truth has {true[: len(images)].mean():.4f}")
    print(markdown(Table(["", *(f"{draws} draws" for draws in DRAWS)], rows, about)))


if __name__ == "__main__":
    records.run_script(computes=True)

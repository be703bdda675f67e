"""Rate of training batches, as one line of JSON.

Times the batches that a run of --config trains on, from the order of its images to arrays on the devices. The images
are random: 50,000 of the configuration's shape in memory, so no data set is needed. images_per_second is the median of
five repeats. benchmarks/train_step.py times the steps that consume the batches.
"""

import argparse
import time

import jax
import numpy as np
import records

from diffenc_jax.commands.arguments import add_config, load_arguments_config, positive
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.data.images import Batch
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.sharding import check_batch, make_mesh

EXAMPLE = "python benchmarks/input.py --config=configs/digits.py --json=records.jsonl"
IMAGES, REPEATS = 50_000, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=positive, default=400, help="number of batches per repeat")
    records.add_record_arguments(parser)
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    before, config = records.earlier(arguments), load_arguments_config(arguments)
    mesh, shape, count = make_mesh(config.mesh.fsdp), image_shape(config.data), arguments.batches
    check_batch(mesh, config.train.batch_size, "train.batch_size")
    images = np.random.default_rng(0).integers(config.data.pixel_levels, size=(IMAGES, *shape), dtype=np.uint8)
    batches, rates = Batches(Batch(images), config, mesh), []
    for repeat in range(REPEATS):
        start = time.perf_counter()
        for step in range(repeat * count, (repeat + 1) * count):
            last = batches(step)
        jax.block_until_ready(last)
        rates.append(count * config.train.batch_size / (time.perf_counter() - start))
    record = {
        "benchmark": "input",
        "config": config.name,
        "shape": shape,
        "batch_size": config.train.batch_size,
        **records.spread("images_per_second", rates),
        "batches": count,
        **records.machine(),
    }
    records.finish(record, before, arguments)


if __name__ == "__main__":
    records.run_script()

"""How fast training batches come, as one line of JSON.

python benchmarks/input.py [--config=configs/digits.py] [--batches=400] [--json=FILE] [--baseline=FILE]
    [--config.key=value ...]

Times the batches that a run of `--config` trains on, from the order of its images to arrays on the devices. The images
are random, 50,000 of the configuration's shape in memory, so no data set is needed. images_per_second is the median of
five looks; the steps that consume them are timed by benchmarks/train_step.py.
"""

import time

import jax
import numpy as np
import records
from absl import app, flags, logging

from diffenc_jax import cli
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.errors import InputError
from diffenc_jax.train import sharding
from diffenc_jax.train.batches import Batches

BATCHES = flags.DEFINE_integer("batches", 400, "How many batches a look takes.", lower_bound=1)
IMAGES, LOOKS = 50_000, 5


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    before, config = records.earlier(), cli.CONFIG.value
    try:
        mesh = sharding.make_mesh(config.mesh.fsdp)
        sharding.check_batch(mesh, config.train.batch_size, "train.batch_size")
        shape = image_shape(config)
        images = np.random.default_rng(0).integers(config.data.levels, size=(IMAGES, *shape), dtype=np.uint8)
        batch = Batches(images, config, mesh)
    except InputError as error:
        cli.fail(str(error))
    rates = []
    for look in range(LOOKS):
        start = time.perf_counter()
        for step in range(look * BATCHES.value, (look + 1) * BATCHES.value):
            last = batch(step)
        jax.block_until_ready(last)
        rates.append(BATCHES.value * config.train.batch_size / (time.perf_counter() - start))
    record = {
        "benchmark": "input",
        "config": config.name,
        "shape": shape,
        "batch_size": config.train.batch_size,
        **records.spread("images_per_second", rates),
        "batches": BATCHES.value,
        **records.machine(),
    }
    records.finish(record, before)


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse)

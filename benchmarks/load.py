"""Time and memory in which a host reads its part of a data set of tensorflow-datasets, as one line of JSON.

Prepares --images random pictures of 32x32 pixels once, by the real preparation, in the folder of data sets that
--config.data.dir names. Then reads those that the first of --hosts hosts trains on, as at the start of a run, with the
digest that a run computes of them. read_seconds, digest_seconds, and host_bytes, by how much memory rose at most.
"""

import argparse
import time
from typing import Any

import numpy as np
import records
from saves import Memory, resident

from diffenc_jax.commands.arguments import add_config, load_arguments_config, positive

EXAMPLE = "python benchmarks/load.py --config=imagenet32 --hosts=4 --config.data.dir=data"
HELD_OUT = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=positive, default=128_000, help="number of training images")
    parser.add_argument("--hosts", type=positive, default=1, help="number of hosts that divide them")
    records.add_record_arguments(parser)
    add_config(parser)


def register() -> None:
    """Make tensorflow-datasets know `random_images/N`, of N pictures."""
    import tensorflow_datasets as tfds

    class RandomImages(tfds.core.GeneratorBasedBuilder):
        """Pictures of 32x32 pixels."""

        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = tuple(tfds.core.BuilderConfig(name=str(count)) for count in (128_000, 1_281_167))

        def _info(self) -> Any:
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(32, 32, 3))})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, _: Any) -> dict[str, Any]:
            return {
                "train": self._generate_examples(int(self.builder_config.name)),
                "test": self._generate_examples(HELD_OUT),
            }

        def _generate_examples(self, count: int) -> Any:
            rng = np.random.default_rng(count)
            for number in range(count):
                yield number, {"image": rng.integers(256, size=(32, 32, 3), dtype=np.uint8)}


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax.data.dataset import load_dataset, prepare
    from diffenc_jax.data.pipeline import Order
    from diffenc_jax.parallel.batches import training_digests

    register()
    before, config = records.earlier(arguments), load_arguments_config(arguments)
    config = config.replace({"data.source": f"tfds:random_images/{arguments.images}"})
    start = time.perf_counter()
    prepare(config.data)
    prepared, size = time.perf_counter() - start, config.train.batch_size

    def needed(count: int) -> np.ndarray:
        order = Order(count, config.seed, size, config.data.shuffle_shards)
        return order.needed(np.arange(size // arguments.hosts))

    first = resident()
    with Memory() as memory:
        start = time.perf_counter()
        dataset = load_dataset(config.data, "train", part=needed)
        read = time.perf_counter() - start
    start = time.perf_counter()
    training_digests(dataset.examples("train"), config)
    images = len(needed(arguments.images))
    record = {
        "benchmark": "load",
        "images": arguments.images,
        "hosts": arguments.hosts,
        "prepare_seconds": prepared,
        "read_seconds": read,
        "digest_seconds": time.perf_counter() - start,
        "images_per_second": images / read,
        "images_bytes": images * 32 * 32 * 3,
        "host_bytes": memory.most - first,
        **records.machine(),
    }
    records.finish(record, before, arguments)


if __name__ == "__main__":
    records.run_script()

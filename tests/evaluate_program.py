"""Run as `python -m tests.evaluate_program DEVICES FOLDER BATCH ..`: the digits' test images on fake devices.

Evaluates one small model, none of whose parameters is zero, at each batch size; writes FOLDER/<batch>.npz, the
nats [passes, images] of the bound by term.
"""

import os
import sys

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[1]}"

from pathlib import Path

import jax
import numpy as np

from diffenc_jax.data.dataset import load
from diffenc_jax.evaluate import Evaluator
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train import sharding
from diffenc_jax.workdir import claim
from tests import tiny


def main(folder, sizes):
    for size in sizes:
        config = tiny.config("diffenc", eval__passes=2, eval__batch_size=size)
        claim(folder / str(size), config)
        dataset = load(config, "train", "test")
        model = build(config, ImageSpec(dataset.shape, dataset.levels))
        mesh = sharding.make_mesh()
        params = jax.device_put(perturbed(jax.jit(model.init)(jax.random.key(0))), sharding.replicated(mesh))
        Evaluator(model, config, dataset, mesh).record(params, 1, folder / str(size))


def perturbed(params):
    rng = np.random.RandomState(0)
    return jax.tree.map(lambda p: p + 0.03 * rng.normal(size=p.shape).astype(np.float32), params)


if __name__ == "__main__":
    main(Path(sys.argv[2]), list(map(int, sys.argv[3:])))

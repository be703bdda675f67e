"""Run as `python -m tests.sampling.mesh_program DEVICES FOLDER SAMPLER-NUM-BATCH ..`: draws on fake devices.

Each SAMPLER-NUM-BATCH is a number of images by a sampler in batches of a size, and is a workdir in FOLDER.
"""

import os
import sys

# Compilation, not arithmetic, is what the time goes into.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[1]} --xla_backend_optimization_level=0"
os.environ["JAX_PLATFORMS"] = "cpu"

from pathlib import Path

import jax

from diffenc_jax.sampling.files import Sampling
from diffenc_jax.train import sharding
from diffenc_jax.workdir import claim
from tests import tiny
from tests.sampling.subject import DATA, subject

FSDP = 2


def main(folder, drawings):
    model, params = subject()
    mesh = sharding.make_mesh(FSDP if jax.device_count() > 1 else 1)
    params = jax.device_put(params, sharding.of_state(mesh, jax.eval_shape(lambda: params)))
    for drawing in drawings:
        sampler, num, batch_size = drawing.split("-")
        changes = {"sample__num": int(num), "sample__batch_size": int(batch_size), "sample__sampler": sampler}
        if sampler == "ancestral":
            changes["sample__reconstruct"] = (0.5,)
        config = tiny.config("vdm", sample__output="softmax", **changes)
        claim(folder / drawing, config)
        Sampling(model, config, DATA, mesh).write(params, 1, folder / drawing, lambda share: None)


if __name__ == "__main__":
    main(Path(sys.argv[2]), sys.argv[3:])

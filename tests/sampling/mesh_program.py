"""Run as `python -m tests.sampling.mesh_program DEVICES FOLDER SAMPLER-NUM-BATCH ..`: samples on fake devices.

Each SAMPLER-NUM-BATCH stands for a number of images by a sampler with a batch size, and is a workdir in FOLDER.
"""

import os
import sys

# Compilation, not arithmetic, takes most of the time.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[1]} --xla_backend_optimization_level=0"
os.environ["JAX_PLATFORMS"] = "cpu"

from pathlib import Path

import jax

from diffenc_jax.parallel.sharding import state_shardings
from diffenc_jax.runs.workdir import write_config
from diffenc_jax.sampling.sampling import Sampling
from tests.sampling.subject import experiment, parameters

FSDP = 2


def main(folder, drawings):
    params = parameters(small=False)
    for drawing in drawings:
        sampler, num, batch_size = drawing.split("-")
        changes = {"sample__num": int(num), "sample__batch_size": int(batch_size), "sample__sampler": sampler}
        if sampler == "ancestral":
            changes["sample__reconstruct"] = (0.5,)
        else:
            changes["sample__likelihood"] = True
        fsdp = FSDP if jax.device_count() > 1 else 1
        subject = experiment(small=False, sample__output="softmax", mesh__fsdp=fsdp, **changes)
        sharded = jax.device_put(params, state_shardings(subject.mesh, jax.eval_shape(lambda: params)))
        write_config(folder / drawing, subject.config)
        Sampling(subject).write(sharded, 1, folder / drawing, lambda share: None)


if __name__ == "__main__":
    main(Path(sys.argv[2]), sys.argv[3:])

"""Run as `python -m tests.evaluation.mesh_program DEVICES FOLDER BATCH ..`: the digits' test images on fake devices.

Evaluates one small model, none of whose parameters is zero, with each batch size. Writes FOLDER/<batch>/eval.
"""

import os
import sys

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[1]}"

from pathlib import Path

import jax

from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.parallel.sharding import replicated
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.workdir import write_config
from tests import tiny


def main(folder, sizes):
    for size in sizes:
        config = tiny.config("diffenc", eval__passes=2, eval__batch_size=size)
        write_config(folder / str(size), config)
        experiment = Experiment.load(config)
        params = tiny.away_from_zero(jax.jit(experiment.model.init)(jax.random.key(0)), 0.03)
        params = jax.device_put(params, replicated(experiment.mesh))
        Evaluator(experiment).record(params, 1, folder / str(size))


if __name__ == "__main__":
    main(Path(sys.argv[2]), list(map(int, sys.argv[3:])))

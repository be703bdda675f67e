"""Run as `python mesh_program.py DEVICES FSDP FOLDER`: a few steps on fake devices, their end saved to FOLDER.

Writes result.npz with the parameters, the log rows and the share of parameters a device holds.
"""

import os
import sys

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[1]}"

from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from diffenc_jax import model
from diffenc_jax.data.dataset import load
from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.train import sharding
from diffenc_jax.train.loop import Trainer
from tests import tiny


def main(fsdp, folder):
    np.savez(folder / "images.npz", train=tiny.images(20), test=tiny.images(13, seed=1))
    config = tiny.config(data__source=str(folder / "images.npz"), mesh__fsdp=fsdp)
    dataset, mesh = load(config, "train", "test"), sharding.make_mesh(fsdp)
    built = model.build(config, model.ImageSpec(dataset.shape, dataset.levels))
    state, record = Trainer(built, config, dataset, mesh, folder / "run").run(Console(quiet=True))
    leaves = jax.tree.leaves(state.params)
    held = sum(leaf.addressable_shards[0].data.size for leaf in leaves) / sum(leaf.size for leaf in leaves)
    with np.load(folder / "run" / "eval" / "test-8-continuous.npz") as values:
        nats = np.stack([values[name] for name in Terms._fields])
    flat = np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])
    np.savez(folder / "result.npz", params=flat, nats=nats, held=held, bpd=record["bpd"]["total"])


if __name__ == "__main__":
    main(int(sys.argv[2]), Path(sys.argv[3]))

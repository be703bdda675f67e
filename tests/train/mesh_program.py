"""Run as `python -m tests.train.mesh_program '{"devices": 4, ...}'`: a few steps on fake devices, as far as they go.

Keys: devices, of each process; fsdp; encoder, a kind of `tiny.ENCODERS`; folder, where the run lives and result.npz is
written: the parameters, the images' nats and the share of parameters that a device holds. With several processes,
process, processes and port. die_after: the step after which the process kills itself.
"""

import json
import os
import signal
import sys
import time

GIVEN = json.loads(sys.argv[1])
# Compilation, not arithmetic, is what the time goes into.
os.environ["XLA_FLAGS"] = (
    f"--xla_force_host_platform_device_count={GIVEN['devices']} --xla_backend_optimization_level=0"
)
os.environ["JAX_PLATFORMS"] = "cpu"

from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from diffenc_jax import hosts, model
from diffenc_jax.data.dataset import load
from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.train import sharding
from diffenc_jax.train.batches import Batches, needed
from diffenc_jax.train.loop import Trainer
from tests import tiny

SAVE_EVERY = 2


class Deadly(Batches):
    """Batches that nobody outlives, though the last checkpoint is saved."""

    def __call__(self, step):
        if step == GIVEN["die_after"]:
            saved = Path(GIVEN["folder"]) / "run" / "checkpoints" / str(step // SAVE_EVERY * SAVE_EVERY)
            while not saved.exists():
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(step)


def main(folder):
    if "processes" in GIVEN:
        jax.distributed.initialize(f"localhost:{GIVEN['port']}", GIVEN["processes"], GIVEN["process"])
    source = str(folder / "images.npz")
    config = tiny.config(
        data__source=source,
        model__encoder=tiny.ENCODERS[GIVEN.get("encoder", "trainable")],
        mesh__fsdp=GIVEN["fsdp"],
        checkpoint__every_steps=SAVE_EVERY,
    )
    mesh = sharding.make_mesh(config.mesh.fsdp)
    dataset = load(config, "train", "test", part=needed(config, mesh))
    built = model.build(config, model.ImageSpec(dataset.shape, dataset.levels))
    trainer = Trainer(built, config, dataset, mesh, folder / "run")
    if "die_after" in GIVEN:
        trainer.batch = Deadly(dataset.splits["train"], config, mesh)
    state, record = trainer.run(Console(quiet=True))
    if hosts.is_first():
        save(state, record, folder)


def save(state, record, folder):
    leaves = jax.tree.leaves(state.params)
    held = sum(leaf.addressable_shards[0].data.size for leaf in leaves) / sum(leaf.size for leaf in leaves)
    with np.load(folder / "run" / "eval" / "test-8-continuous.npz") as values:
        nats = np.stack([values[name] for name in Terms._fields])
    flat = np.concatenate([hosts.whole(leaf).ravel() for leaf in leaves])
    np.savez(folder / "result.npz", params=flat, nats=nats, held=held, bpd=record["bpd"]["total"])


if __name__ == "__main__":
    main(Path(GIVEN["folder"]))

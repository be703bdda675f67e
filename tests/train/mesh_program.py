"""Run as `python -m tests.train.mesh_program '{"devices": 4, ...}'`: train a tiny model on fake devices.

Keys: devices, of each process; fsdp; encoder, a kind of `tiny.ENCODERS`; labels, whether the model is conditioned on
them; folder, which holds the images and the run, and in which result.npz is written: the parameters, the nats per
image, and the share of the parameters that a device holds. workdir: of the run, if it is not in `folder`. With several
processes: process, processes and port. die_after: the step after which the process kills itself. steps_per_call: of the
training; in_loops: whether these steps run in loops, as on accelerators. save_every: steps between checkpoints.
"""

import json
import os
import signal
import sys

from tests.xla_flags import QUICKLY_COMPILED

GIVEN = json.loads(sys.argv[1])
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={GIVEN['devices']} {QUICKLY_COMPILED}"
# Threads of XLA. One that waits in a collective for another host runs nothing else; with too few, all wait for ever.
os.environ["NPROC"] = "16"
os.environ["JAX_PLATFORMS"] = "cpu"

from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from diffenc_jax.core.buckets import as_path
from diffenc_jax.diffusion.losses import TERMS
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.sampling.sampling import Sampling
from diffenc_jax.sampling.snapshots import Snapshots
from diffenc_jax.train import calls
from diffenc_jax.train.loop import Trainer
from tests import tiny
from tests.train.running import before_each_step, wait_for_checkpoint

SAVE_EVERY = 2
WORKDIR = as_path(GIVEN.get("workdir", f"{GIVEN['folder']}/run"))


def die(step):
    """Kill the process before the step after `die_after`, once the last checkpoint is saved."""
    if step == GIVEN["die_after"] + 1:
        wait_for_checkpoint(WORKDIR, GIVEN["die_after"] // SAVE_EVERY * SAVE_EVERY)
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder):
    if "processes" in GIVEN:
        jax.distributed.initialize(f"localhost:{GIVEN['port']}", GIVEN["processes"], GIVEN["process"])
    config = tiny.config(
        data__source=str(folder / "images.npz"),
        model__encoder=tiny.ENCODERS[GIVEN.get("encoder", "trainable")],
        model__labels=GIVEN.get("labels", False),
        mesh__fsdp=GIVEN["fsdp"],
        checkpoint__every_steps=GIVEN.get("save_every", SAVE_EVERY),
        train__steps_per_call=GIVEN.get("steps_per_call", 1),
    )
    if GIVEN.get("in_loops"):
        calls.is_cpu = lambda program: False
    experiment = Experiment.load(config)
    trainer = Trainer(experiment, WORKDIR, Snapshots(experiment, Sampling(experiment)))
    if "die_after" in GIVEN:
        before_each_step(trainer, die)
    state, record = trainer.run(Console(quiet=True))
    if hosts.is_first():
        save(state, record, folder)


def save(state, record, folder):
    leaves = jax.tree.leaves(state.params)
    held = sum(leaf.addressable_shards[0].data.size for leaf in leaves) / sum(leaf.size for leaf in leaves)
    (path,) = storage.glob(WORKDIR / "eval", "test-8-continuous-*.npz")
    with storage.local_copy(path) as copy, np.load(copy) as values:
        nats = np.stack([values[name] for name in TERMS])
    flat = np.concatenate([hosts.all_gather(leaf).ravel() for leaf in leaves])
    np.savez(folder / "result.npz", params=flat, nats=nats, held=held, bpd=record["bpd"]["total"])


if __name__ == "__main__":
    main(Path(GIVEN["folder"]))

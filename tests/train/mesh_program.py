"""Run as `python -m tests.train.mesh_program '{"devices": 4, ...}'`: train a tiny model on fake devices.

Keys: devices, of each process; fsdp; folder, which holds the images and the run, and in which result.npz is written:
the parameters, the nats per image, and the share of the parameters that a device holds; and if `fixed` gives batch
sizes of an evaluation and of sampling, the nats per image and samples of parameters that no training has made.
workdir: of the run, if it is not in `folder`. unet: whether the networks are U-Nets, trained by Muon. With several
processes: process, processes and port. die_after: the step after which the process kills itself, and `victim` the one
process that does, by default all. stop: number of the batch after which the evaluation of `fixed` ends. samples: how
many are drawn after the training.
"""

import itertools
import json
import os
import signal
import sys

from tests.processes import QUICKLY_COMPILED

GIVEN = json.loads(sys.argv[1])
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={GIVEN['devices']} {QUICKLY_COMPILED}"
# Threads of XLA. One that waits in a collective for another host runs nothing else; with too few, all wait for ever.
os.environ["NPROC"] = "16"
os.environ["JAX_PLATFORMS"] = "cpu"

from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from diffenc_jax.config.recipe import MUON, score_transformer
from diffenc_jax.core.buckets import as_path
from diffenc_jax.diffusion.losses import TERMS
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.parallel import hosts, sharding
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.runs.records import read_values
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.sampling.sampling import Sampling
from diffenc_jax.train.loop import train
from tests import tiny
from tests.train.running import before_each_step, wait_for_checkpoint

SAVE_EVERY = 2
WORKDIR = as_path(GIVEN.get("workdir", f"{GIVEN['folder']}/run"))
# Wide enough for parameters that are sharded.
WIDE = {} if GIVEN.get("unet") else {"model__score": score_transformer(patch=2, width=64, layers=1, heads=2)}


def die(step):
    """Kill the process before the step after `die_after`, once the last checkpoint is saved."""
    if step == GIVEN["die_after"] + 1:
        wait_for_checkpoint(WORKDIR, GIVEN["die_after"] // SAVE_EVERY * SAVE_EVERY)
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder):
    if "processes" in GIVEN:
        jax.distributed.initialize(f"localhost:{GIVEN['port']}", GIVEN["processes"], GIVEN["process"])
    unet, source = GIVEN.get("unet", False), str(folder / "images.npz")
    changes = {"data__source": source, "model__labels": True, "mesh__fsdp": GIVEN["fsdp"], "eval__passes": 1}
    changes |= {"checkpoint__every_steps": SAVE_EVERY, "log__samples": GIVEN.get("samples", 0)}
    changes |= {"eval__time_sampling": "uniform", "sample__output": "softmax"}
    changes |= {"train__optimizer": MUON} if unet else {}
    config = tiny.config("diffenc" if unet else "vdm", small=not unet, **changes, **WIDE)
    run = BaseRun.load(config)
    dies = "die_after" in GIVEN and GIVEN.get("victim") in (None, GIVEN.get("process"))
    with before_each_step(die) if dies else nullcontext():
        draw_samples = Sampling(run).picture if "samples" in GIVEN else None
        state, record = train(run, WORKDIR, Console(quiet=True), draw_samples)
    leaves = jax.tree.leaves(state.params)
    held = sum(leaf.addressable_shards[0].data.size for leaf in leaves) / sum(leaf.size for leaf in leaves)
    flat = np.concatenate([hosts.all_gather(leaf).ravel() for leaf in leaves])
    more = fixed(run, state.params) if "fixed" in GIVEN else {}
    if hosts.is_first():
        values = read_values(StoredRun(WORKDIR).record_paths("test", 8)[0])
        nats = np.stack([values[name] for name in TERMS])
        np.savez(folder / "result.npz", params=flat, nats=nats, held=held, bpd=record["bpd"]["total"], **more)


def fixed(run, like):
    """Nats, and samples, of the same parameters on any devices."""
    params = tiny.away_from_zero(jax.jit(run.model.init)(jax.random.key(0)), 0.01)
    params = jax.device_put(params, sharding.state_shardings(run.mesh, like))
    sizes = dict(zip(("eval.batch_size", "sample.batch_size"), GIVEN["fixed"], strict=True))
    changed = run.changed(config=run.config.replace(sizes))
    evaluator = Evaluator(changed, folder="fixed")
    batches = itertools.count(1)
    # As after a signal, which all hosts heed after the same batch.
    on_batch = lambda: next(batches) == GIVEN.get("stop") and sys.exit(3)  # noqa: E731
    values = read_values(evaluator.record(params, 1, StoredRun(WORKDIR), on_batch=on_batch).path)
    nats = np.stack([values[name] for name in (*TERMS, "t")])
    return {"fixed_nats": nats, "samples": Sampling(changed).images(params, 12)}


if __name__ == "__main__":
    main(Path(GIVEN["folder"]))

"""Runs that were never trained: written to a workdir, or opened in memory; and the images that they read."""

import json
from pathlib import Path

import numpy as np

from diffenc_jax.api import TrainedRun
from diffenc_jax.data.images import LabelSpec
from diffenc_jax.model import DataSpec, build
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.stored import StoredRun
from tests import tiny

CLASSES = 3


def write_run(folder, source, arm="vdm", shape=(4, 4, 1), **changes):
    """A workdir with one checkpoint for images of `shape`, whose parameters are away from zero; returns `folder`."""
    # The density that times are drawn from by default takes two more programs.
    changes = {"data__source": str(source), "eval__time_sampling": "uniform", **changes}
    config = tiny.config(arm, small=True, **changes)
    spec = DataSpec(shape, tiny.LEVELS, LabelSpec(CLASSES))
    params = tiny.drawn(build(config, spec), seed=config.seed)
    return write_averages(folder, config, {1: params})


def write_averages(folder, config, by_step):
    """A workdir with averaged parameters by step; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    StoredRun(folder).write(config)
    with Checkpoints(StoredRun(folder), keep_every_steps=1) as checkpoints:
        for step, params in by_step.items():
            checkpoints.save_ema(step, params)
    return folder


def write_images(path, count=13, seed=1):
    """A data set of 20 training and `count` test images of `CLASSES` classes; returns `path`."""
    labels = {f"y_{split}": np.arange(number) % CLASSES for split, number in (("train", 20), ("test", count))}
    np.savez(path, train=tiny.images(20), test=tiny.images(count, seed=seed), **labels)
    return path


def change(path, **changes):
    """Change entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def trained(run, params, workdir=Path("never-written")):
    """A run, opened in memory after a step."""
    return TrainedRun(run, StoredRun(workdir), 1, [1], params)

"""Whole runs of a tiny model."""

import functools
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from rich.console import Console

import diffenc_jax as dj
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.runs import storage
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.runs.metrics import METRICS_FILE, read_metrics
from diffenc_jax.train import loop
from diffenc_jax.train.program import TrainingProgram
from tests.processes import wait_until


def train(config, workdir, draw_samples=None, before_step=None, profiled=None):
    """The state at the end, and the record. before_step(step) is called before each step, counted from 1."""
    with before_each_step(before_step) if before_step else nullcontext():
        return loop.train(BaseRun.load(config), workdir, Console(), draw_samples, profiled=profiled)


@functools.cache
def _shared(model, config, mesh):
    program = TrainingProgram(model, config, mesh)
    program.compiled = functools.cache(program.compiled)
    return program


def shared_program(model, config, mesh):
    """A `TrainingProgram` that is compiled once for all trainings that differ in length or folders only."""
    others = {"train.steps": 1, "data.source": "digits", "eval.every_steps": 1, "log.writers": ()}
    return _shared(model, config.replace(others), mesh)


def assert_same_run(a: Path, b: Path, except_steps=()):
    """Assert that metrics and averaged parameters agree bit for bit; only `a` has rows of `except_steps`."""
    assert [row for row in logged(a) if row["step"] not in except_steps] == logged(b)
    ours, theirs = dj.open(a), dj.open(b)
    assert ours.checkpoint == theirs.checkpoint
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


def wait_for_checkpoint(workdir, step):
    wait_until((workdir / "checkpoints" / str(step)).exists)


def before_each_step(action):
    """A context in which a training calls action(step) before it starts a step, counted from 1."""

    def announced(*arguments):
        batches = Batches(*arguments)

        def batch(done):
            action(done + 1)
            return batches(done)

        return batch

    return mock.patch.object(loop, "Batches", announced)


def logged(workdir):
    """Rows of the metrics without the values that depend on the clock."""
    rows = read_metrics(workdir)
    assert len(rows) == storage.read(workdir / METRICS_FILE).count(b"\n")
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows]

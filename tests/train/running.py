"""Whole runs of a tiny model."""

import functools
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.runs.trained import open_trained
from diffenc_jax.train.loop import Trainer
from diffenc_jax.train.step import Program
from tests.logs import logged
from tests.processes import wait_until


def train(config, workdir, draw_samples=None, before_step=None, profiled=None):
    """The state at the end, and the record. before_step(step) is called before each step, counted from 1."""
    trainer = Trainer(Experiment.load(config), workdir, draw_samples)
    if before_step:
        before_each_step(trainer, before_step)
    return trainer.run(Console(), profiled)


@functools.cache
def _shared(model, config, mesh):
    program = Program(model, config, mesh)
    program.compiled = functools.cache(program.compiled)
    return program


def shared_program(model, config, mesh):
    """A `Program` that is compiled once for all trainings that differ in length or folders only."""
    others = {"train.steps": 1, "data.source": "digits", "eval.every_steps": 1, "log.writers": ()}
    return _shared(model, config.replace(others), mesh)


def assert_same_run(a: Path, b: Path, except_steps=()):
    """Assert that metrics and averaged parameters agree bit for bit; only `a` has rows of `except_steps`."""
    assert [row for row in logged(a) if row["step"] not in except_steps] == logged(b)
    ours, theirs = open_trained(StoredRun(a)), open_trained(StoredRun(b))
    assert ours.step == theirs.step
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


def wait_for_checkpoint(workdir, step):
    wait_until((workdir / "checkpoints" / str(step)).exists)


def before_each_step(trainer, action):
    """Call action(step) before `trainer` starts a step, counted from 1."""
    batches = trainer.batches

    def batch(done):
        action(done + 1)
        return batches(done)

    trainer.batches = batch

"""A batch of the evaluation and one of sampling, as functions to be timed."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.data.images import Batch, Source
from diffenc_jax.data.sources import spec_of
from diffenc_jax.diffusion.ancestral import ancestral
from diffenc_jax.evaluation.estimator import Pass
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.model import Params, build
from diffenc_jax.parallel.sharding import batched, check_batch, replicated, to_devices
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.sampling.samplers import first_noise, step_noise

Task = Callable[[int], jax.Array]  # number of the repeat -> arrays to wait for


def tasks(config: Config, mesh: Mesh) -> dict[str, Task]:
    """A batch of the evaluation, and one of sampling, on a mesh, with fresh parameters and train.batch_size images.

    Raises InputError if the configuration allows neither.
    """
    size, levels = config.train.batch_size, config.data.pixel_levels
    config = config.replace({"eval.time_sampling": "uniform", "eval.batch_size": size, "sample.num": size})
    check_batch(mesh, size, "train.batch_size")
    spec = spec_of(config)
    images = np.random.default_rng(0).integers(levels, size=(size, *spec.shape), dtype=np.uint8)
    model = build(config, spec)
    source = Source("random", "1", dict.fromkeys(("train", config.eval.split), lambda: images))
    run = BaseRun(config, mesh, Dataset(lambda: source, levels), model)
    params = jax.jit(model.init, out_shardings=replicated(mesh))(jax.random.key(0))
    pixels = to_devices(mesh, images)
    return {"evaluation": evaluation(run, params, pixels), "sampling": sampling(run, params)}


def evaluation(run: BaseRun, params: Params, pixels: jax.Array) -> Task:
    estimator, indices = Evaluator(run).estimator, to_devices(run.mesh, np.arange(len(pixels)))
    tables = estimator.tables(params)
    precision = "highest" if run.config.eval.dtype == "float32" else None

    def task(number):
        with jax.default_matmul_precision(precision):
            return estimator.estimate(Pass(params, tables, Batch(pixels), indices, number))

    return task


def sampling(run: BaseRun, params: Params) -> Task:
    model, sample = run.model, run.config.sample
    steps, divided = model.steps(params, dataclasses.replace(model.loss, depth=sample.depth)), batched(run.mesh)

    @partial(jax.jit, out_shardings=divided)
    def draw(params, steps, key):
        keys = jax.lax.with_sharding_constraint(jax.random.split(key, sample.num), divided)
        shape = model.spec.shape
        return ancestral(model.bind(params), steps, first_noise(keys, shape), step_noise(keys, shape))

    return lambda number: draw(params, steps, jax.random.key(number))

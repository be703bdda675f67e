"""Time of a batch in training's forward pass, in evaluation and in a step of sampling, as one line of JSON.

Runs on one device, with fresh parameters and train.batch_size random images in all three, at uniform times. In the
record, medians over --repeats repeats, which take turns:
forward_seconds is the training loss, with dropout and all end points, without its gradient;
evaluation_seconds is one batch and pass of the configured estimator;
sampling_seconds is one of sample.depth steps, which call only the score network.
*_programs is the number of compiled programs of each; programs_later counts those compiled after the first call.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import records
from jax.sharding import Mesh

from diffenc_jax.commands.arguments import add_config, load_arguments_config, positive
from diffenc_jax.config import Config
from diffenc_jax.data.dataset import Dataset, image_shape
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.ancestral import ancestral
from diffenc_jax.diffusion.losses import bound
from diffenc_jax.evaluation.estimator import Pass
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.model import ImageSpec, Model, Params, build
from diffenc_jax.parallel.sharding import batched, check_batch, make_mesh, replicated, to_devices
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.sampling.samplers import first_noise, step_noise

EXAMPLE = "python benchmarks/inference.py --config=configs/digits.py:vdm --repeats=20"
COMPILED = "/jax/core/compile/backend_compile_duration"

Task = Callable[[int], jax.Array]  # number of the repeat -> arrays to wait for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=positive, default=10, help="number of timings of each task")
    records.add_record_arguments(parser)
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    before, config = records.earlier(arguments), load_arguments_config(arguments)
    compiled, record = [], {"benchmark": "inference", "config": config.name, "arm": config.arm}
    record |= {"batch_size": config.train.batch_size, "dtype": config.model.dtype, "depth": config.sample.depth}
    named = tasks(config, make_mesh(1, jax.devices()[:1]))
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(seconds) if event == COMPILED else None
    )
    for name, task in named.items():
        compiled.clear()
        jax.block_until_ready(task(0))
        record |= {f"{name}_programs": len(compiled), f"{name}_compile_seconds": sum(compiled)}
    compiled.clear()
    seconds = {name: [] for name in named}
    for number in range(1, arguments.repeats + 1):
        for name, task in named.items():
            start = time.perf_counter()
            jax.block_until_ready(task(number))
            seconds[name].append(time.perf_counter() - start)
    seconds["sampling"] = np.divide(seconds["sampling"], config.sample.depth)
    for name, values in seconds.items():
        record |= records.spread(f"{name}_seconds", values)
    for name in ("evaluation", "sampling"):
        record[f"{name}_share"] = record[f"{name}_seconds"] / record["forward_seconds"]
    record |= {"repeats": arguments.repeats, "programs_later": len(compiled)} | records.machine()
    records.finish(record, before, arguments)


def tasks(config: Config, mesh: Mesh) -> dict[str, Task]:
    """The three tasks on a mesh, by name; raises InputError if the configuration allows none of them."""
    size, levels = config.train.batch_size, config.data.pixel_levels
    config = config.replace({"eval.time_sampling": "uniform", "eval.batch_size": size, "sample.num": size})
    check_batch(mesh, size, "train.batch_size")
    images = np.random.default_rng(0).integers(levels, size=(size, *image_shape(config.data)), dtype=np.uint8)
    model = build(config, ImageSpec(images.shape[1:], levels))
    dataset = Dataset("random", "1", levels, dict.fromkeys(("train", config.eval.split), images))
    experiment = Experiment(config, dataset, mesh, model)
    params = jax.jit(model.init, out_shardings=replicated(mesh))(jax.random.key(0))
    pixels = to_devices(mesh, images)
    return {
        "forward": forward(model, params, pixels),
        "evaluation": evaluation(experiment, params, pixels),
        "sampling": sampling(experiment, params),
    }


def forward(model: Model, params: Params, pixels: jax.Array) -> Task:
    @jax.jit
    def loss(params, pixels, key):
        noise_key, dropout_key = jax.random.split(key)
        steps = None if model.loss.depth is None else model.steps(params, model.loss)
        return bound(model.bind(params, dropout_key), pixels, noise_key, steps).total.mean()

    return lambda number: loss(params, pixels, jax.random.key(number))


def evaluation(experiment: Experiment, params: Params, pixels: jax.Array) -> Task:
    estimator, indices = Evaluator(experiment).estimator, to_devices(experiment.mesh, np.arange(len(pixels)))
    tables = estimator.tables(params)
    precision = "highest" if experiment.config.eval.dtype == "float32" else None

    def task(number):
        with jax.default_matmul_precision(precision):
            return estimator.estimate(Pass(params, tables, Batch(pixels), indices, number))

    return task


def sampling(experiment: Experiment, params: Params) -> Task:
    model, sample = experiment.model, experiment.config.sample
    steps, divided = model.steps(params, dataclasses.replace(model.loss, depth=sample.depth)), batched(experiment.mesh)

    @partial(jax.jit, out_shardings=divided)
    def draw(params, steps, key):
        keys = jax.lax.with_sharding_constraint(jax.random.split(key, sample.num), divided)
        shape = model.spec.shape
        return ancestral(model.bind(params), steps, first_noise(keys, shape), step_noise(keys, shape))

    return lambda number: draw(params, steps, jax.random.key(number))


if __name__ == "__main__":
    records.run_script(computes=True)

"""What a batch costs in training's forward pass, in evaluation and in a step of sampling, as one line of JSON.

python benchmarks/inference.py --config=configs/digits.py[:arm] [--looks=10] [--json=FILE] [--baseline=FILE]
    [--config.key=value ...]

On one device, with fresh parameters and random images, train.batch_size of them in all three, at uniform times. The
medians of --looks looks, which are taken in turn:
forward_seconds is the loss of training, with dropout and all end points, without its gradient;
evaluation_seconds a batch and pass of the configured estimator, the bound unless it is given;
sampling_seconds one of sample.depth steps, which call the score network alone.
*_programs counts what was compiled for each, programs_later what was compiled after the first look.
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
import records
from absl import app, flags, logging
from ml_collections import ConfigDict

from diffenc_jax import cli, memory
from diffenc_jax.config import with_changes
from diffenc_jax.data.dataset import Dataset, image_shape
from diffenc_jax.diffusion.times import antithetic
from diffenc_jax.errors import InputError
from diffenc_jax.evaluate import Evaluator
from diffenc_jax.model import ImageSpec, Model, build
from diffenc_jax.sampling.config import SampleConfig
from diffenc_jax.sampling.draw import noise
from diffenc_jax.sampling.samplers import advance
from diffenc_jax.train import sharding

LOOKS = flags.DEFINE_integer("looks", 10, "How often each is timed.", lower_bound=1)
COMPILED = "/jax/core/compile/backend_compile_duration"

Look = Callable[[int], jax.Array]  # number of the look -> something to wait for


def looks(config: ConfigDict) -> dict[str, Look]:
    """By name, of the flags' `config`; raises InputError where it makes none of them."""
    size = config.train.batch_size
    config = with_changes(config, {"eval.time_sampling": "uniform", "eval.batch_size": size, "sample.num": size})
    levels, mesh = config.data.levels, sharding.make_mesh(1, jax.devices()[:1])
    sharding.check_batch(mesh, size, "train.batch_size")
    images = np.random.default_rng(0).integers(levels, size=(size, *image_shape(config)), dtype=np.uint8)
    model = build(config, ImageSpec(images.shape[1:], levels))
    dataset = Dataset("random", "1", levels, dict.fromkeys(("train", config.eval.split), images))
    evaluator, settings = Evaluator(model, config, dataset, mesh), SampleConfig.of(config)
    params, pixels = jax.jit(model.init)(jax.random.key(0)), sharding.to_devices(mesh, images)
    return {
        "forward": forward(model, params, pixels),
        "evaluation": evaluation(evaluator, params, pixels),
        "sampling": sampling(model, params, settings),
    }


def forward(model: Model, params, pixels: jax.Array) -> Look:
    @jax.jit
    def loss(params, pixels, key):
        keys = jax.random.split(key, 3)
        noise = model.draw_noise(keys[0], antithetic(jax.random.uniform(keys[1]), len(pixels)))
        return model.terms(params, pixels, noise, keys[2]).total.mean()

    return lambda number: loss(params, pixels, jax.random.key(number))


def evaluation(evaluator: Evaluator, params, pixels: jax.Array) -> Look:
    estimator, indices = evaluator.estimator, jax.numpy.arange(len(pixels))
    tables = estimator.tables(params)

    def look(number):
        with jax.default_matmul_precision(evaluator.precision):
            return estimator.estimate(params, tables, pixels, indices, number)

    return look


def sampling(model: Model, params, settings: SampleConfig) -> Look:
    steps = model.steps(params, dataclasses.replace(model.loss, depth=settings.depth))

    @jax.jit
    def draw(params, steps, key):
        keys = jax.random.split(key, settings.num)
        return advance(model, params, steps, keys, noise(model, keys), 0, settings.depth)

    return lambda number: draw(params, steps, jax.random.key(number))


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    before, config = records.earlier(), cli.CONFIG.value
    compiled, record = [], {"benchmark": "inference", "config": config.name, "arm": config.arm}
    record |= {"batch_size": config.train.batch_size, "dtype": config.model.dtype, "depth": config.sample.depth}
    try:
        named = looks(config)
    except InputError as error:
        cli.fail(str(error))
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(seconds) if event == COMPILED else None
    )
    for name, look in named.items():
        compiled.clear()
        jax.block_until_ready(look(0))
        record |= {f"{name}_programs": len(compiled), f"{name}_compile_seconds": sum(compiled)}
    compiled.clear()
    seconds = {name: [] for name in named}
    for number in range(1, LOOKS.value + 1):
        for name, look in named.items():
            start = time.perf_counter()
            jax.block_until_ready(look(number))
            seconds[name].append(time.perf_counter() - start)
    seconds["sampling"] = np.divide(seconds["sampling"], config.sample.depth)
    for name, values in seconds.items():
        record |= records.spread(f"{name}_seconds", values)
    for name in ("evaluation", "sampling"):
        record[f"{name}_share"] = record[f"{name}_seconds"] / record["forward_seconds"]
    record |= {"looks": LOOKS.value, "programs_later": len(compiled)} | records.machine()
    records.finish(record, before)


if __name__ == "__main__":
    memory.prepare()
    app.run(main, flags_parser=cli.parse)

"""Time and memory of the published DiffEnc code's training step, as one line of JSON.

Runs a checkout of https://github.com/bemigini/DiffEnc on random images that lie on the device, by its own configuration
files, optimizer, averages and compiled step. Nothing in the checkout is changed: `set_what_is_missing` adapts current
versions of the libraries to it in this process. In the record, step_seconds is the median over --steps steps, each
waited for, after a few others; peak_bytes is the largest memory so far, of the process on a CPU, otherwise of the
device. `benchmarks/peers.py` runs this beside our training step.
"""

import argparse
import dataclasses
import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import records
import timing

from diffenc_jax.commands.options import positive
from diffenc_jax.core import versions
from diffenc_jax.core.errors import require

EXAMPLE = "python benchmarks/published.py --diffenc=DIR --model=config_model_NAME.json --batch=8"
CONFIGS, PIPELINE = "config", "src.training.training_pipeline"
OPTIMIZER, TRAINING = "config_opt_adamw_0002_no_clip.json", "config_train_cifar10_unconditional_1_128.json"
SHAPE, PIXEL_LEVELS = (32, 32, 3), 256
# Modules that the training step does not need. The first is often not installed and gives names of types; the others
# read data and checkpoints, and import TensorFlow, whose 0.5 GB of memory are not the step's.
STAND_INS = {
    "chex": {},
    "flax.training.checkpoints": {},
    "src.data.load_data": {
        "get_input_shape": lambda name: SHAPE,
        "get_eval_steps": lambda name, batch_size: 0,
        "load_dataset": lambda config, folder: (None, None, 0),  # training images, test images, number of classes
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkout(parser)
    parser.add_argument("--model", required=True, metavar="FILE", help=f"model configuration in DIR/{CONFIGS}")
    parser.add_argument("--batch", type=positive, default=8, help="images per step")
    parser.add_argument("--steps", type=positive, default=20, help="number of timed steps")
    parser.add_argument("--width", type=positive, help="channels of both networks (default: those of the file)")
    parser.add_argument("--layers", type=positive, help="layers of the score network (default: those of the file)")
    records.add_record_arguments(parser)


def add_checkout(parser: argparse.ArgumentParser) -> None:
    """Add --diffenc, the checkout."""
    parser.add_argument("--diffenc", required=True, type=Path, metavar="DIR", help="checkout of the published code")


def check_checkout(folder: Path, *models: str) -> None:
    """Raise InputError unless `folder` holds the published code and the named model configurations."""
    module = f"{PIPELINE.replace('.', '/')}.py"
    for name in (module, *(f"{CONFIGS}/{file}" for file in (OPTIMIZER, TRAINING, *models))):
        require(
            (folder / name).is_file(),
            f"--diffenc={folder} has no {name}; give a checkout of the published code, "
            "https://github.com/bemigini/DiffEnc",
        )


def run(arguments: argparse.Namespace) -> None:
    before = records.earlier(arguments)
    pipeline = make_pipeline(arguments)
    training = Training(pipeline, arguments.batch)
    record = {
        "benchmark": "published",
        "model": arguments.model,
        "batch_size": arguments.batch,
        "params": sum(leaf.size for leaf in jax.tree.leaves(pipeline.train_state.params)),
        **training.compile(),
        **timing.step_record(training, arguments.steps),
        "peak_bytes": timing.peak_bytes(),
        **versions.machine(),
    }
    records.finish(record, before, arguments)


def set_what_is_missing() -> None:
    """Set in this process what the published code needs and current versions of Python, JAX and Flax lack.

    - No bytecode is written, since Python would write it into the checkout.
    - `jax.tree_map` is `jax.tree.map`.
    - Flax returns parameters as FrozenDicts, which the mask of the weight decay is too.
    - Dataclasses of Flax may have arrays as defaults.
    - Modules that the training step does not need have stand-ins, see `STAND_INS`.
    """
    sys.dont_write_bytecode = True
    jax.tree_map = jax.tree.map
    flax.config.update("flax_return_frozendict", True)
    flax.struct.dataclass = with_array_defaults(flax.struct.dataclass)
    for name, functions in STAND_INS.items():
        sys.modules[name] = StandIn(name, functions)


class StandIn(ModuleType):
    """A module that has the given functions. Every other public name in it is `Any`, for annotations."""

    def __init__(self, name: str, functions: dict[str, Callable[..., Any]]):
        super().__init__(name)
        vars(self).update(functions)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Any


def with_array_defaults(dataclass: Callable[[type], type]) -> Callable[[type], type]:
    """A class decorator like `dataclass` that allows arrays as defaults, which Python >= 3.11 refuses as mutable."""

    def decorate(cls: type) -> type:
        for name, value in list(vars(cls).items()):
            if isinstance(value, jax.Array):
                setattr(cls, name, dataclasses.field(default_factory=lambda value=value: value))
        return dataclass(cls)

    return decorate


def make_pipeline(arguments: argparse.Namespace) -> Any:
    """The published code's training pipeline, with its model and its first state. Raises InputError."""
    check_checkout(arguments.diffenc, arguments.model)
    set_what_is_missing()
    sys.path.insert(0, str(arguments.diffenc))
    files, folder = importlib.import_module("src.file_handling.save_load_config"), arguments.diffenc / CONFIGS
    model = files.load_ddpm_config(arguments.model, str(folder))
    optimizer = files.load_optimizer_config(OPTIMIZER, str(folder))
    training = files.load_train_config(TRAINING, str(folder), {"batch_size": arguments.batch})
    with tempfile.TemporaryDirectory() as output:  # for checkpoints and metrics
        make = importlib.import_module(PIPELINE).TrainingPipeline
        return make(training, resized(model, arguments.width, arguments.layers), optimizer, output)


def resized(model: Any, width: int | None, layers: int | None) -> Any:
    """The published code's configuration of a model with other sizes, where they are not None."""
    score, encoder = model.score_model_config, model.encoder_config
    widths = {} if width is None else {"n_embd": width}
    score = score.replace(**widths, **({} if layers is None else {"n_layer": layers}))
    if encoder.nn_config is not None:
        encoder = encoder.replace(nn_config=encoder.nn_config.replace(**widths))
    return model.replace(score_model_config=score, encoder_config=encoder)


class Training:
    """Training by a pipeline of the published code on one batch of random images, on one device.

    A call makes a step, and returns the next state and the metrics.
    """

    def __init__(self, pipeline: Any, batch_size: int):
        self._step = pipeline.p_train_step
        self._state = flax.jax_utils.replicate(pipeline.train_state, jax.local_devices()[:1])
        images = np.random.default_rng(0).integers(PIXEL_LEVELS, size=(1, batch_size, *SHAPE), dtype=np.uint8)
        self._batch = jnp.asarray(images), jnp.zeros((1, batch_size))  # without classes

    def compile(self) -> dict[str, float]:
        """Compile the step; returns the seconds that it took."""
        self._step, times = timing.compile_timed(lambda: self._step.lower(self._state, *self._batch))
        return times

    def __call__(self) -> Any:
        self._state, metrics = self._step(self._state, *self._batch)
        return self._state, metrics


if __name__ == "__main__":
    records.run_script()

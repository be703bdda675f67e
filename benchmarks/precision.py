"""Effect of bfloat16 on the likelihood of trained runs, and of rounding the parts that stay float32.

Evaluates each run in float32, in bfloat16 as `eval.dtype` does, and in bfloat16 with one more part rounded to it. Times
are uniform, so that all evaluations share their noise. Prints the differences to float32 in bits/dim, with the standard
error of their mean over images. It needs a CPU or a TPU: a GPU's kernels are not taken apart.
"""

import argparse
import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import records
from flax import linen as nn

from diffenc_jax.commands.arguments import positive
from diffenc_jax.evaluation import bound
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.nets import conv, embeddings, unet
from diffenc_jax.nets.kernels import attention, norm
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.runs.trained import Trained, open_trained

EXAMPLE = "python benchmarks/precision.py runs/digits-diffenc-seed0 --passes=16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument("--passes", type=positive, default=8, help="passes over the images")


def run(arguments: argparse.Namespace) -> None:
    for workdir in arguments.workdirs:
        trained = open_trained(StoredRun(workdir))
        exact = bits(trained, "float32", arguments.passes)
        config = trained.config
        print(f"\n{config.name}:{config.arm}, step {trained.step}, float32: {exact.mean():.4f} bits/dim\n")
        print("| rounded as well | difference, bits/dim |\n|---|---|")
        for name, lowered in PARTS.items():
            with lowered():
                excess = bits(trained, "bfloat16", arguments.passes) - exact
            mean, error = mean_and_error(excess)
            print(f"| {name} | {mean:+.5f} ± {error:.5f} |", flush=True)


def bits(trained: Trained, dtype: str, passes: int) -> np.ndarray:
    """Bits/dim [images], the mean over passes."""
    bound._compiled.cache_clear()  # nothing else tells the model with a rounded part from the one without
    jax.clear_caches()
    changes = {"eval.dtype": dtype, "eval.passes": passes, "eval.time_sampling": "uniform", "eval.estimator": "bound"}
    config = trained.config.replace(changes)
    with tempfile.TemporaryDirectory() as folder:
        run = StoredRun(Path(folder))
        run.write(config)
        evaluator = Evaluator(dataclasses.replace(trained, config=config))
        return evaluator.record(trained.params, trained.step, run).bits.mean(axis=0)


def rounded(x: jax.Array) -> jax.Array:
    """x, rounded to bfloat16."""
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def time_features(time: jax.Array, width: int, of=embeddings.sinusoids) -> jax.Array:
    """Sinusoids of t' in bfloat16; all else is exact."""
    return of(rounded(time), width)


def fourier_features(
    z: jax.Array, bins: tuple[float, ...], bin_width: float, of=embeddings.fourier_features
) -> jax.Array:
    """Fourier features of z in bfloat16; all else is exact."""
    return of(rounded(z), bins, bin_width)


def scores(query: jax.Array, key: jax.Array, of=attention._scores) -> jax.Array:
    """Attention scores in bfloat16."""
    return rounded(of(query, key))


def statistics(x: jax.Array, of=norm._means) -> tuple[jax.Array, ...]:
    """The means of x and x² of a group norm in bfloat16."""
    return tuple(map(rounded, of(x)))


@contextmanager
def output_layer() -> Iterator[None]:
    """Output layer with its input and output in bfloat16."""

    def call(next_call, args, kwargs, context):
        if isinstance(context.module, conv.ImageConv):
            return rounded(next_call(rounded(args[0]), **kwargs))
        return next_call(*args, **kwargs)

    with nn.intercept_methods(call):
        yield


# Parts that are rounded in addition to those that `eval.dtype=bfloat16` rounds.
PARTS = {
    "nothing more": contextlib.nullcontext,
    "the time t'": partial(mock.patch.object, embeddings, "sinusoids", time_features),
    "the Fourier features' z": partial(mock.patch.object, unet, "fourier_features", fourier_features),
    "the norms' statistics": partial(mock.patch.object, norm, "_means", statistics),
    "the attention's scores": partial(mock.patch.object, attention, "_scores", scores),
    "the output layer": output_layer,
}


if __name__ == "__main__":
    records.run_script(computes=True)

"""What bfloat16 does to the likelihood of trained runs, and what it would do to the parts that stay float32.

python benchmarks/precision.py WORKDIR... [--passes=8]

Evaluates each run in float32, in bfloat16 as `eval.dtype` does, and in bfloat16 with one more part rounded to it. Times
are uniform, so that all see the same noise. Prints the differences to float32 in bits/dim, with the standard error of
their mean over images.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import linen as nn

from diffenc_jax import workdir as workdirs
from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.evaluate import Evaluator
from diffenc_jax.nets import attention, conv, embeddings, norms, unet
from diffenc_jax.stats.uncertainty import mean_and_error
from diffenc_jax.trained import Trained, open_trained


def rounded(x: jax.Array) -> jax.Array:
    """To bfloat16 and back."""
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def time_features(time: jax.Array, width: int, of=embeddings.sinusoids) -> jax.Array:
    """With t' in bfloat16, exact from there on."""
    return of(rounded(time), width)


def fourier_features(z: jax.Array, cycles: tuple[float, ...], of=embeddings.fourier_features) -> jax.Array:
    """With z in bfloat16, exact from there on."""
    return of(rounded(z), cycles)


def scores(query: jax.Array, key: jax.Array, of=attention._scores) -> jax.Array:
    """Of attention, in bfloat16."""
    return rounded(of(query, key))


def group_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, dtype, swish: bool, _) -> jax.Array:
    """With statistics in the dtype of the input."""
    norm = nn.GroupNorm(groups, epsilon=norms.EPSILON, dtype=dtype, force_float32_reductions=False)
    y = norm.apply({"params": {"scale": scale, "bias": bias}}, x)
    return nn.swish(y) if swish else y


@contextmanager
def output_layer() -> Iterator[None]:
    """With its input and output in bfloat16."""

    def call(next_call, args, kwargs, context):
        if isinstance(context.module, conv.ImageConv):
            return rounded(next_call(rounded(args[0]), **kwargs))
        return next_call(*args, **kwargs)

    with nn.intercept_methods(call):
        yield


# By what is rounded besides what `eval.dtype=bfloat16` rounds.
PARTS = {
    "nothing more": contextlib.nullcontext,
    "the time t'": partial(mock.patch.object, embeddings, "sinusoids", time_features),
    "the Fourier features' z": partial(mock.patch.object, unet, "fourier_features", fourier_features),
    "the norms' statistics": partial(mock.patch.object, norms, "group_norm", group_norm),
    "the attention's scores": partial(mock.patch.object, attention, "_scores", scores),
    "the output layer": output_layer,
}


def values(run: Trained, dtype: str, passes: int) -> np.ndarray:
    """Bits/dim [images], the mean of the passes."""
    config = run.config.copy_and_resolve_references()
    config.eval.update(dict(dtype=dtype, passes=passes, time_sampling="uniform", estimator="bound"))
    with tempfile.TemporaryDirectory() as folder:
        workdirs.claim(Path(folder), config)
        Evaluator(run.model, config, run.dataset, run.mesh).record(run.params, run.step, Path(folder))
        (path,) = Path(folder).glob("eval/*.npz")
        with np.load(path) as archive:
            nats = sum(archive[name] for name in Terms._fields)
    return nats.mean(axis=0) / (run.model.spec.dims * np.log(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workdirs", nargs="+", type=Path)
    parser.add_argument("--passes", type=int, default=8)
    arguments = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    for workdir in arguments.workdirs:
        run = open_trained(workdirs.configuration(workdir), workdir, fitting=False)
        exact = values(run, "float32", arguments.passes)
        print(f"\n{run.config.name}:{run.config.arm}, step {run.step}, float32: {exact.mean():.4f} bits/dim\n")
        print("| rounded besides | difference, bits/dim |\n|---|---|")
        for name, lowered in PARTS.items():
            with lowered():
                excess = values(run, "bfloat16", arguments.passes) - exact
            mean, error = mean_and_error(excess)
            print(f"| {name} | {mean:+.5f} ± {error:.5f} |", flush=True)


if __name__ == "__main__":
    main()

"""Models of a density: ours, and those of flowjax and BayesFlow, which are installed apart.

The other libraries get vectors of mean 0 and deviation 1: flowjax's masked autoregressive flow, affine or by splines,
of 8 layers as wide as twice the dimensions and at least its default, 50, stopped early by a tenth of the training data;
and BayesFlow's flow matching by its defaults.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epy

from diffenc_jax.api import Run
from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.lab.densities.worlds import TABLES, TEST, WORLDS, Arrays, Data

with epy.lazy_imports():  # optional
    import bayesflow
    import equinox
    import flowjax.bijections
    import flowjax.distributions
    import flowjax.flows
    import flowjax.train
    import keras

BY_ODE = 100  # first test examples, for estimates that are slow
DATA = WORLDS | TABLES


class Fitted(NamedTuple):
    """Seconds of a training; and from arrays to log p, nats [N], by the name of the estimate."""

    seconds: float
    log_p: dict[str, Callable[..., np.ndarray]]


def ours(arm: str, data: Data, seed: int, folder: Path) -> Fitted:
    """A run of configs/arrays.py."""
    splits = {"train": data.train, "test": data.test}
    arrays: dict[str, Any] = {f"{name}_{split}": x for split in splits for name, x in named(*splits[split]).items()}
    np.savez(folder / "data.npz", **arrays)
    model, _, recipe = arm.partition("-")
    form = ("", "-series", "-fields")[data.train[0].ndim - 2] + ("" if data.truth is not None else "-few")
    changes = {"data.source": str((folder / "data.npz").absolute()), "seed": seed, "model.labels": len(data.train) > 1}
    passes = 128
    if data.train[0].ndim > 2:  # U-Nets cost more, and their noise is less per dimension
        changes |= {"ode.rtol": 1e-3, "ode.atol": 1e-3, "eval.batch_size": BY_ODE}
        passes = 16
    run = Run(f"arrays:{model}{form}-{recipe}", changes)
    start, state = time.perf_counter(), run.init()
    for step in range(run.config.train.steps):
        state, _ = run.step(state, run.batch(step))
    seconds = time.perf_counter() - start

    def nats(x: np.ndarray, y: np.ndarray | None = None, rows: int = TEST, **settings: Any) -> np.ndarray:
        return run.log_prob(x[:rows], None if y is None else y[:rows], state=state, **settings).nats

    bound = partial(nats, estimator="bound", passes=passes)
    return Fitted(seconds, {"bound": bound, "ODE": partial(nats, rows=BY_ODE)})


def by_flowjax(spline: bool, data: Data, seed: int, folder: Path) -> Fitted:
    arrays, in_units = standardised(data)
    dims, key = arrays[0].shape[1], jax.random.key(seed)
    parts = {"transformer": flowjax.bijections.RationalQuadraticSpline(knots=8, interval=4)} if spline else {}
    parts |= {"nn_width": max(50, 2 * dims), "cond_dim": arrays[1].shape[1] if arrays[1:] else None}
    start = time.perf_counter()
    base = flowjax.distributions.StandardNormal((dims,))
    flow = flowjax.flows.masked_autoregressive_flow(key, base_dist=base, **parts)
    flow, _ = flowjax.train.fit_to_data(key, flow, arrays, max_epochs=500, max_patience=20, show_progress=False)
    return Fitted(time.perf_counter() - start, {"": in_units(equinox.filter_jit(flow.log_prob))})


def by_bayesflow(data: Data, seed: int, folder: Path) -> Fitted:
    os.environ["KERAS_BACKEND"] = "jax"
    keras.utils.set_random_seed(seed)
    arrays, in_units = standardised(data)
    roles = {"inference_variables": ["x"]} | ({"inference_conditions": ["y"]} if arrays[1:] else {})
    flow = bayesflow.BasicWorkflow(inference_network=bayesflow.networks.FlowMatching(), **roles)
    start = time.perf_counter()
    flow.fit_offline(named(*arrays), verbose=0)
    seconds = time.perf_counter() - start
    return Fitted(seconds, {"": in_units(lambda *arrays: flow.log_prob(named(*(array[:BY_ODE] for array in arrays))))})


def named(*arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Data by the name x, and conditions, if given, by the name y."""
    return dict(zip("xy", arrays, strict=False))


def standardised(data: Data) -> tuple[Arrays, Callable[..., Callable[..., np.ndarray]]]:
    """Training data as vectors of mean 0 and deviation 1; and, from log p of such vectors, log p of the data's own."""
    flat = [array.reshape(len(array), -1) for array in data.train]
    units = [(array.mean(axis=0), array.std(axis=0)) for array in flat]

    def scaled(arrays: Arrays) -> Arrays:
        pairs = zip(arrays, units, strict=True)
        return tuple(
            np.asarray((x.reshape(len(x), -1) - mean) / deviation, np.float32) for x, (mean, deviation) in pairs
        )

    def in_units(log_p: Callable[..., Any]) -> Callable[..., np.ndarray]:
        return lambda *arrays: np.asarray(log_p(*scaled(arrays)), float).ravel() - np.log(units[0][1]).sum()

    return scaled(data.train), in_units


LIBRARIES = {"MAF": "flowjax", "splines": "flowjax", "BayesFlow": "bayesflow"}
MODELS: dict[str, Callable[[Data, int, Path], Fitted]] = {
    **{arm: partial(ours, arm) for arm in ("vdm-fast", "diffenc-fast")},
    **{"MAF": partial(by_flowjax, False), "splines": partial(by_flowjax, True), "BayesFlow": by_bayesflow},
}


def measured(name: str, model: str, seed: int, folder: Path) -> dict[str, list[float]]:
    """By estimate: the mean figure and its error over examples, seconds of training, and ms per log p."""
    data, lines = DATA[name](seed), dict[str, list[float]]()
    fitted = MODELS[model](data, seed, folder)
    for estimate, log_p in fitted.log_p.items():
        log_p(*data.test)  # compiles
        start = time.perf_counter()
        nats = log_p(*data.test)
        milliseconds = 1e3 * (time.perf_counter() - start) / len(nats)
        figures = nats if data.truth is None else (data.truth[: len(nats)] - nats) / data.test[0][0].size
        lines[f"{model} {estimate}".strip()] = [*map(float, mean_and_error(figures)), fitted.seconds, milliseconds]
    return lines

"""Densities of real data: our models beside other libraries, and beside the truth where it is known.

Worlds with a known density have 18,000 training and 2,000 test examples; the figure is the excess, truth minus log p,
in nats/dim. Of tables of scikit-learn a fifth is the test data, at most 100 examples, and noise as wide as their
rounding makes them continuous; the figure is the mean log p of a test example. Each seed has its own draws, or its own
split. Our models see the digits as fields of 8x8, the others as vectors. For series and fields the tolerances of our
ODE are 1e-3 instead of 1e-5.

The other libraries get vectors of mean 0 and deviation 1: flowjax's masked autoregressive flow, affine or by splines,
of 8 layers as wide as twice the dimensions and at least its default, 50, stopped early by a tenth of the training data;
and BayesFlow's flow matching by its defaults. The latter and our ODE, which are slow, take the first 100 test examples.
Install them by: pip install flowjax bayesflow.

Prints the tables. The values are kept in --out, so that the same command resumes.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import records
from scipy import stats

import diffenc_jax as dj
from diffenc_jax.commands.options import location
from diffenc_jax.core import versions
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.core.errors import lookup
from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.lab.commands.significance import seed_numbers

EXAMPLE = "python benchmarks/densities.py --out=densities --only=gaussian-20 --models=vdm-fast,MAF"
ROWS, TEST, BY_ODE = 20_000, 2000, 100
Arrays = tuple[np.ndarray, ...]  # x [N, ...], or x and its conditions y [N, K]
Law = tuple[Callable[[np.random.Generator], Arrays], Callable[..., np.ndarray]]  # draws arrays; from them to log p
Values = dict[str, list[list[float]]]  # by estimate, what `measured` returns under each seed


class Data(NamedTuple):
    """Training and test data, and log p of the latter, nats [N], where it is known."""

    train: Arrays
    test: Arrays
    truth: np.ndarray | None = None


def gaussian(d: int) -> Law:
    """Variances from 1 to 0.01 in equal ratios, in a random basis."""
    root = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0] * np.sqrt(np.geomspace(1, 0.01, d))
    return lambda rng: (rng.normal(size=(ROWS, d)) @ root.T,), stats.multivariate_normal(cov=root @ root.T).logpdf


def mixture(centres: np.ndarray, deviation: float = 0.3) -> Law:
    def draw(rng: np.random.Generator) -> Arrays:
        means = centres[rng.integers(len(centres), size=ROWS)]
        return (means + deviation * rng.normal(size=means.shape),)

    def log_p(x: np.ndarray) -> np.ndarray:
        logs = stats.norm.logpdf(x[:, None], centres, deviation).sum(axis=-1)
        return np.logaddexp.reduce(logs, axis=1) - np.log(len(centres))

    return draw, log_p


def banana() -> Law:
    """a ~ N(0, 1), and b ~ N(a², 0.25)."""

    def draw(rng: np.random.Generator) -> Arrays:
        a, b = rng.normal(size=(2, ROWS))
        return (np.stack([a, a**2 + b / 2], 1),)

    return draw, lambda x: stats.norm.logpdf(x[:, 0]) + stats.norm.logpdf(x[:, 1], x[:, 0] ** 2, 0.5)


def field(*shape: int) -> Law:
    """A periodic Gaussian field, whose Fourier modes with the wave number k have the variance (1 + k² / 16)^-1.5."""
    waves = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij")
    axes = tuple(range(1, len(shape) + 1))
    root = (1 + sum(k**2 for k in waves) / 16) ** -0.75

    def filtered(x: np.ndarray, gains: np.ndarray) -> np.ndarray:
        return np.fft.ifftn(np.fft.fftn(x, axes=axes) * gains, axes=axes).real

    def log_p(x: np.ndarray) -> np.ndarray:
        return stats.norm.logpdf(filtered(x[..., 0], 1 / root)).sum(axis=axes) - np.log(root).sum()

    return lambda rng: (filtered(rng.normal(size=(ROWS, *shape)), root)[..., None],), log_p


def posterior(d: int) -> Law:
    """θ ~ N(0, I) given y = A θ + 0.3 ε, with a random matrix A."""
    a = np.random.default_rng(0).normal(size=(d, d)) / np.sqrt(d)
    covariance = np.linalg.inv(np.eye(d) + a.T @ a / 0.09)

    def draw(rng: np.random.Generator) -> Arrays:
        theta, noise = rng.normal(size=(2, ROWS, d))
        return theta, theta @ a.T + 0.3 * noise

    log_p = stats.multivariate_normal(cov=covariance).logpdf
    return draw, lambda theta, y: log_p(theta - y @ a @ covariance / 0.09)


def world(law: Law, seed: int) -> Data:
    draw, log_p = law
    train, test = zip(*((array[TEST:], array[:TEST]) for array in draw(np.random.default_rng(seed))), strict=True)
    return Data(train, test, log_p(*test))


def table(name: str, seed: int, shape: Sequence[int] = (-1,)) -> Data:
    """A table of scikit-learn; the rounding of a feature is the least difference of two of its values."""
    from sklearn import datasets

    rng, settings = np.random.default_rng(seed), {"scaled": False} if name == "diabetes" else {}
    values = np.round(getattr(datasets, f"load_{name}")(**settings).data, 10)
    steps = [np.diff(np.unique(column)).min(initial=np.inf) for column in values.T]
    noise = rng.uniform(size=values.shape) * np.where(np.isinf(steps), 1, steps)
    x = rng.permutation(values + noise).reshape(len(values), *shape)
    count = min(BY_ODE, len(x) // 5)
    return Data((x[count:],), (x[:count],))


ANGLES = 2 * np.pi * np.arange(8) / 8
WORLDS: dict[str, Callable[[int], Data]] = {
    **{f"gaussian-{d}": partial(world, gaussian(d)) for d in (2, 20, 100)},
    "mixture-2": partial(world, mixture(2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1))),
    "mixture-20": partial(world, mixture(np.random.default_rng(0).normal(size=(8, 20)))),
    "banana-2": partial(world, banana()),
    "posterior-10": partial(world, posterior(10)),
    "field-64": partial(world, field(64)),
    "field-8x8": partial(world, field(8, 8)),
}
TABLES: dict[str, Callable[[int], Data]] = {
    **{name: partial(table, name) for name in ("wine", "diabetes", "breast_cancer")},
    "digits": partial(table, "digits", shape=(8, 8, 1)),
}


class Fitted(NamedTuple):
    """Seconds of a training; and from arrays to log p, nats [N], by the name of the estimate."""

    seconds: float
    log_p: dict[str, Callable[..., np.ndarray]]


def ours(arm: str, data: Data, seed: int, folder: Path) -> Fitted:
    """A run of configs/arrays.py."""
    arrays = {f"{name}_{split}": x for split in ("train", "test") for name, x in named(*getattr(data, split)).items()}
    np.savez(folder / "data.npz", **arrays)
    model, _, recipe = arm.partition("-")
    form = ("", "-series", "-fields")[data.train[0].ndim - 2] + ("" if data.truth is not None else "-few")
    changes = {"data.source": str((folder / "data.npz").absolute()), "seed": seed, "model.labels": len(data.train) > 1}
    passes = 128
    if data.train[0].ndim > 2:  # U-Nets cost more, and their noise is less per dimension
        changes |= {"ode.rtol": 1e-3, "ode.atol": 1e-3, "eval.batch_size": BY_ODE}
        passes = 16
    run = dj.Run(f"arrays:{model}{form}-{recipe}", changes)
    start, state = time.perf_counter(), run.init()
    for step in range(run.config.train.steps):
        state, _ = run.step(state, run.batch(step))
    seconds = time.perf_counter() - start

    def nats(*arrays: np.ndarray, rows: int = TEST, **settings: Any) -> np.ndarray:
        return run.log_prob(*(array[:rows] for array in arrays), state=state, **settings).nats

    bound = partial(nats, estimator="bound", passes=passes)
    return Fitted(seconds, {"bound": bound, "ODE": partial(nats, rows=BY_ODE)})


def flowjax(spline: bool, data: Data, seed: int, folder: Path) -> Fitted:
    import equinox
    import jax
    from flowjax import bijections, distributions, flows, train

    arrays, in_units = standardised(data)
    dims, key = arrays[0].shape[1], jax.random.key(seed)
    parts = {"transformer": bijections.RationalQuadraticSpline(knots=8, interval=4)} if spline else {}
    parts |= {"nn_width": max(50, 2 * dims), "cond_dim": arrays[1].shape[1] if arrays[1:] else None}
    start = time.perf_counter()
    flow = flows.masked_autoregressive_flow(key, base_dist=distributions.StandardNormal((dims,)), **parts)
    flow, _ = train.fit_to_data(key, flow, arrays, max_epochs=500, max_patience=20, show_progress=False)
    return Fitted(time.perf_counter() - start, {"": in_units(equinox.filter_jit(flow.log_prob))})


def bayesflow(data: Data, seed: int, folder: Path) -> Fitted:
    os.environ["KERAS_BACKEND"] = "jax"
    import bayesflow
    import keras

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
        return tuple(np.float32((x.reshape(len(x), -1) - mean) / deviation) for x, (mean, deviation) in pairs)

    def in_units(log_p: Callable[..., Any]) -> Callable[..., np.ndarray]:
        return lambda *arrays: np.asarray(log_p(*scaled(arrays)), float).ravel() - np.log(units[0][1]).sum()

    return scaled(data.train), in_units


MODELS = {
    **{arm: partial(ours, arm) for arm in ("vdm-fast", "diffenc-fast")},
    **{"MAF": partial(flowjax, False), "splines": partial(flowjax, True), "BayesFlow": bayesflow},
}


def measured(name: str, model: str, seed: int, folder: Path) -> dict[str, list[float]]:
    """By estimate: the mean figure and its error over examples, seconds of training, and ms per log p."""
    data, lines = (WORLDS | TABLES)[name](seed), {}
    fitted = MODELS[model](data, seed, folder)
    for estimate, log_p in fitted.log_p.items():
        log_p(*data.test)  # compiles
        start = time.perf_counter()
        nats = log_p(*data.test)
        milliseconds = 1e3 * (time.perf_counter() - start) / len(nats)
        figures = nats if data.truth is None else (data.truth[: len(nats)] - nats) / data.test[0][0].size
        lines[f"{model} {estimate}".strip()] = [*mean_and_error(figures), fitted.seconds, milliseconds]
    return lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default=",".join(WORLDS | TABLES), help="worlds and tables (default: all)")
    parser.add_argument("--models", default=",".join(MODELS), help="models (default: all)")
    parser.add_argument("--seeds", type=seed_numbers, default=(0, 1, 2), help="seeds (default: 0-2)")
    parser.add_argument("--out", type=location, required=True, metavar="DIR", help="folder of the values")


def run(arguments: argparse.Namespace) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    models, values = arguments.models.split(","), {name: {} for name in arguments.only.split(",")}
    for kind, names, known in (("data", values, WORLDS | TABLES), ("model", models, MODELS)):
        for name in names:
            lookup(kind, name, known)
    for name, seed, model in itertools.product(values, arguments.seeds, models):
        path = arguments.out / f"{name}-{model}-{seed}.json"
        if not path.exists():
            path.write_text(json.dumps(measured(name, model, seed, arguments.out)) + "\n")
        for estimate, figures in json.loads(path.read_text()).items():
            values[name].setdefault(estimate, []).append(figures)
            print(name, seed, estimate, figures, file=sys.stderr)
    for about, known, cell in (
        ("Truth minus log p, nats/dim.", WORLDS, excess),
        ("Mean log p in nats by the first, and the differences of the others.", TABLES, gain),
        ("Seconds of training, and milliseconds per log p.", WORLDS | TABLES, cost),
    ):
        show({name: own for name, own in values.items() if name in known}, f"{about} {versions.device()}", cell)


def show(values: dict[str, Values], about: str, cell: Callable[[Values, str], str]) -> None:
    estimates = list(dict.fromkeys(itertools.chain(*values.values())))
    rows = [[name, *(cell(own, each) if each in own else "" for each in estimates)] for name, own in values.items()]
    if rows:
        print(markdown(Table(["", *estimates], rows, about)), end="\n\n")


def excess(values: Values, estimate: str) -> str:
    """The mean over seeds, with its error; under one seed, the error over examples."""
    means = np.array([own[0] for own in values[estimate]])
    return "{:.4f} ± {:.4f}".format(*(mean_and_error(means) if len(means) > 1 else values[estimate][0]))


def gain(values: Values, estimate: str) -> str:
    """The mean over seeds of the first estimate; for others the mean difference to it, with its error."""
    reference = next(iter(values))
    first, own = (np.array([figures[0] for figures in values[name]]) for name in (reference, estimate))
    return f"{own.mean():.2f}" if estimate == reference else "{:+.2f} ± {:.2f}".format(*mean_and_error(own - first))


def cost(values: Values, estimate: str) -> str:
    seconds, milliseconds = np.median([own[2:4] for own in values[estimate]], axis=0)
    return f"{seconds:.0f}, {milliseconds:{'.0f' if milliseconds >= 100 else '.3g'}}"


if __name__ == "__main__":
    records.run_script(computes=True)

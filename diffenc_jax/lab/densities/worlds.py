"""Worlds of a known density, from which data are drawn, and tables of scikit-learn, made continuous."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

ROWS, TEST = 20_000, 2000  # examples of a world: all, and those of the test
MOST = 100  # most test examples of a table
Arrays = tuple[np.ndarray, ...]  # x [N, ...], or x and its conditions y [N, K]
Law = tuple[Callable[[np.random.Generator], Arrays], Callable[..., np.ndarray]]  # draws arrays; from them to log p


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
    count = min(MOST, len(x) // 5)
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

"""Variance ratios of steps, from the errors of a model on training images."""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np

from diffenc_jax.diffusion.ratios import ByEstimate, Table, best_ratio, cost

# Numbers of bins of x̂ that a fit chooses from.
BINS = (24, 96)


class StepErrors(NamedTuple):
    """The errors of one step for P pairs of an image and a noise, [P, H, W, C] each; float64.

    Attributes:
      u: (μ_Q - μ_P)² / σ_Q².
      x_hat: the estimate x̂ at z_t.
    """

    u: np.ndarray
    x_hat: np.ndarray


class Form(NamedTuple):
    """A form of `ByEstimate`.

    Attributes:
      bins: number of bins of x̂, whose means are the knots; with 1, u does not depend on x̂.
      has_factor: whether there is a factor per pixel.
    """

    bins: int
    has_factor: bool


# The last form is one ratio per pixel.
FORMS = (*(Form(bins, has_factor) for bins in BINS for has_factor in (False, True)), Form(1, True))


def fit_table(steps: Iterable[StepErrors], axes: tuple[int, ...]) -> Table:
    """The best ratio per step for the mean error, shared over `axes` of the image."""
    shared = tuple(axis + 1 for axis in axes)
    u = np.stack([errors.u.mean(axis=(0, *shared), keepdims=True)[0] for errors in steps])
    return Table(best_ratio(jnp.asarray(u, jnp.float32)))


def fit_by_estimate(steps: Iterable[StepErrors]) -> ByEstimate:
    """The form of `FORMS` that costs least on held-out pairs, fitted to all pairs.

    Each form is fitted to every second pair and evaluated on the others; the choice is one for all steps.
    """
    rows: dict[Form, list[ByEstimate]] = {form: [] for form in FORMS}
    costs = dict.fromkeys(FORMS, 0.0)
    for errors in steps:
        half, other = (StepErrors(*(array[first::2] for array in errors)) for first in (0, 1))
        for form, row in _rows(errors).items():
            rows[form].append(row)
        for form, row in _rows(half).items():
            costs[form] += _mean_cost(row, other) if len(other.u) else 0.0
    best = min(costs, key=costs.__getitem__)
    return ByEstimate(*(jnp.asarray(np.stack(tables), jnp.float32) for tables in zip(*rows[best], strict=True)))


def _rows(errors: StepErrors) -> dict[Form, ByEstimate]:
    """The row of one step in each form, in numpy."""
    rows = {}
    for bins in dict.fromkeys(form.bins for form in FORMS):
        knots, error = np.zeros(1), np.ones(1)
        if bins > 1:
            knots, error = mean_by_bin(errors.x_hat.ravel(), errors.u.ravel(), bins)
        fitted = np.interp(errors.x_hat, knots, error).mean(axis=0)
        factor = np.divide(errors.u.mean(axis=0), fitted, out=np.zeros_like(fitted), where=fitted > 0)
        for has_factor, table in ((False, np.ones((1, 1, 1))), (True, factor)):
            rows[Form(bins, has_factor)] = ByEstimate(*cast(tuple[Any, Any, Any], (knots, error, table)))
    return {form: rows[form] for form in FORMS}


def _mean_cost(row: ByEstimate, errors: StepErrors) -> float:
    expected = row.factor * np.interp(errors.x_hat, row.knots, row.error)
    w, u = best_ratio(jnp.asarray(expected, jnp.float32)), jnp.asarray(errors.u, jnp.float32)
    return float(jnp.mean(cost(w, u)))


def mean_by_bin(x: np.ndarray, u: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Means [bins] of x and of u in bins of x [N] that hold equal shares of Σ √u.

    Bins of equal counts would resolve best where most pixels are and errors are small, such as a background. Without
    samples enough for all bins, the last ones repeat.
    """
    order = np.argsort(x)
    x, u = x[order], u[order]
    share = np.cumsum(np.sqrt(u))
    share = share / share[-1] if share[-1] > 0 else np.arange(1, len(x) + 1) / len(x)
    number = np.minimum((share * bins).astype(int), bins - 1)
    filled, count = np.unique(number, return_counts=True)
    means = (np.add.reduceat(values, np.searchsorted(number, filled)) / count for values in (x, u))
    knots, error = (np.pad(mean, (0, bins - len(filled)), mode="edge") for mean in means)
    return knots, error

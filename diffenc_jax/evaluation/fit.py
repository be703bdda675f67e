"""Steps fitted on training images after training, then frozen: the best times and the best ratios of variances.

Both follow from the error u = (μ_Q - μ_P)² / σ_Q² of a step on training images. A step costs ½ Σ u nats at ratio 1 and
½ Σ ln(1 + u) nats at the best ratio (diffusion/ratios.py).
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config.sections import FIT_IMAGES, LEARNED_ERROR, OPTIMAL, OPTIMAL_ESTIMATE, LossConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.streams import gaussian, stream
from diffenc_jax.data import fingerprints
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.encoders import Encoded
from diffenc_jax.diffusion.gaussian import diffuse, sum_dims
from diffenc_jax.diffusion.losses import errors_at
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.ratios import ByErrorHead, ByEstimate, Table, best_cost, best_ratio, cost
from diffenc_jax.diffusion.steps import Step, Steps
from diffenc_jax.diffusion.times import best_times
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.parallel import hosts, sharding
from diffenc_jax.runs.base import BaseRun

# The best times are points of the grid as long as a step has, on average, at least this many intervals of it.
INTERVALS_PER_STEP = 8
FIT_SPLIT = "train"
# Name of the costs of steps at ratio 1; other costs are named by the value of `loss.variance_ratio`.
FIXED = "1"
# Bins of x̂ for the costs of steps with a ratio that depends on x̂.
TIME_BINS = 48
FEWEST = 80  # values in a bin of a fitted ratio that depends on x̂


class StepErrors(NamedTuple):
    """The errors of one step for P pairs of an image and a noise, [P, H, W, C] each; float64.

    Attributes:
      u: (μ_Q - μ_P)² / σ_Q².
      x_hat: the estimate x̂ at z_t.
    """

    u: np.ndarray
    x_hat: np.ndarray


def check_fit(run: BaseRun) -> None:
    """Raises InputError if `config.fit` does not suit the data or the devices."""
    sharding.check_batch(run.mesh, num_fit_images(run), "fit.images")


def num_fit_images(run: BaseRun) -> int:
    """`fit.images`, or its default; raises InputError if there are fewer training images than `fit.images`."""
    wanted, available = run.config.fit.images, len(run.dataset.split(FIT_SPLIT).data)
    if wanted is not None and wanted > available:
        raise InputError(f"fit.images={wanted} exceeds the {available} training images; take at most that many")
    return min(FIT_IMAGES, available) if wanted is None else wanted


def fit_images(run: BaseRun) -> Batch:
    """The `num_fit_images` training images that fits use, drawn by `fit.seed`."""
    rows = _shuffled(run)[: num_fit_images(run)]
    return sharding.fetch(run.dataset.split(FIT_SPLIT).examples, rows)


def fit_description(run: BaseRun) -> dict[str, Any]:
    """Everything that a fit depends on besides the model, for a record."""
    images = fit_images(run).data
    used = {**dataclasses.asdict(run.config.fit), "images": len(images)}
    return {"split": FIT_SPLIT, "sha256": fingerprints.sha256(images), **used}


def steps_for(run: BaseRun, params: Params, loss: LossConfig) -> Steps:
    """The steps of `loss`, of finite depth, fitted if `loss` asks for it."""
    if loss.is_fitted:
        return Fit(run, params).steps(loss)
    return run.model.steps(params, loss)


class Fit:
    """Steps fitted to one model and its parameters; each part is computed when it is first needed."""

    def __init__(self, run: BaseRun, params: Params):
        """Raises InputError if `config.fit` does not suit the data or the devices."""
        check_fit(run)
        self._run, self._params = run, params
        self._model, self._config = run.model, run.config.fit
        self._num_images, self._order = num_fit_images(run), _shuffled(run)

    def steps(self, loss: LossConfig) -> Steps:
        """The steps of `loss`, of finite depth."""
        steps = self._model.steps(self._params, loss)
        if loss.times == "optimal":
            steps = steps._replace(gamma=jnp.asarray(self._best_gamma(loss), steps.gamma.dtype))
        if loss.variance_ratio in OPTIMAL:
            steps = steps._replace(ratio=fit_table(self.step_errors(steps.gamma), OPTIMAL[loss.variance_ratio]))
        elif loss.variance_ratio == OPTIMAL_ESTIMATE:
            steps = steps._replace(ratio=fit_by_estimate(self.step_errors(steps.gamma), self._config.bins))
        return steps

    @cached_property
    def grid(self) -> np.ndarray:
        """[grid + 1] the values of γ between which the costs of steps are tabulated, evenly spaced."""
        first, last = self._model.bind(self._params).endpoints
        return np.linspace(float(first), float(last), self._config.grid + 1)

    @cached_property
    def costs(self) -> dict[str, np.ndarray]:
        """[grid + 1, grid + 1] nats of the step from t (column) to s (row), by `loss.variance_ratio` or `FIXED`."""
        n = self._config.grid + 1
        gammas = jnp.asarray(self.grid, jnp.float32)
        batch = self._batch(np.arange(self._num_images))
        given = self._model, self._params, batch
        encoded = jax.tree.map(lambda *at: jnp.stack(at), *(_call(encode_at, *given, gamma) for gamma in gammas))
        # One noise per image for all times: the costs are smooth in t, and the choice of times cannot exploit chance.
        eps = gaussian(stream(self._config.seed, "fit times"), batch.data.shape)
        columns = [
            jax.tree.map(hosts.all_gather, _call(costs_to_all, *given, gammas, encoded, t, eps)) for t in range(n)
        ]
        costs = {name: np.stack([column[name] for column in columns], axis=1, dtype=np.float64) for name in columns[0]}
        for table in costs.values():
            table[np.tril_indices(n)] = np.inf  # not steps: s must be below t
        return costs

    def _best_gamma(self, loss: LossConfig) -> np.ndarray:
        """[depth + 1] the γ between which the steps cost least in total, at the ratio of `loss`.

        If the grid is too coarse for that many steps, the best choice of fewer steps is refined by monotone
        interpolation, since the best density of times tends to a limit.
        """
        from scipy.interpolate import PchipInterpolator  # a third of a second that training does not need

        ratio = str(loss.variance_ratio) if loss.variance_ratio in self.costs else FIXED
        wanted = cast(int, loss.depth)
        depth = min(wanted, self._config.grid // INTERVALS_PER_STEP)
        gamma = self.grid[best_times(self.costs[ratio], depth)]
        return PchipInterpolator(np.arange(depth + 1) / depth, gamma)(np.arange(wanted + 1) / wanted)

    def step_errors(self, gamma: jax.Array) -> Iterator[StepErrors]:
        """The errors of each step between `gamma` [T + 1], for images · grid / T pairs of an image and a noise."""
        whole = hosts.all_gather(gamma)
        size, depth = self._num_images, len(whole) - 1
        pairs = max(size * self._config.grid // depth, 1)  # per step
        key = stream(self._config.seed, "fit ratio")
        waiting: list[tuple[np.ndarray, ...]] = []
        for start in range(0, depth * pairs, size):
            pair = np.arange(start, start + size)
            step = np.minimum(pair // pairs, depth - 1)  # pairs that do not count fill up the last batch
            batch = self._batch(pair)
            eps = gaussian(jax.random.fold_in(key, start), batch.data.shape)
            given = self._model, self._params, batch, whole[step], whole[step + 1], eps
            errors = map(hosts.all_gather, _call(squared_error, *given))
            counted = min(size, depth * pairs - start)
            waiting.append(tuple(np.asarray(array, np.float64)[:counted] for array in errors))
            while sum(len(u) for u, _ in waiting) >= pairs:
                u, x_hat = (np.concatenate(arrays) for arrays in zip(*waiting, strict=True))
                yield StepErrors(u[:pairs], x_hat[:pairs])
                waiting = [(u[pairs:], x_hat[pairs:])]

    def _batch(self, numbers: np.ndarray) -> Batch:
        """Training images of these numbers in the drawn order, which repeats."""
        images = sharding.fetch(self._run.dataset.split(FIT_SPLIT).examples, self._order[numbers % len(self._order)])
        return sharding.to_devices(self._run.mesh, images)


@partial(jax.jit, static_argnums=(0, 1))
def _call(function: Callable, model: Model, params: Params, batch: Batch, *arguments: Any) -> Any:
    """function(process, x, *arguments) for the images x of a batch; one program serves all steps, fits and depths."""
    process = bind_to(model, params, batch)
    return function(process, process.decoder.values(batch.data), *arguments)


def squared_error(
    process: Process, x: jax.Array, gamma_s: jax.Array, gamma_t: jax.Array, eps: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """u = (μ_Q - μ_P)² / σ_Q² of the steps from γ_t [B] to γ_s [B], and x̂ at z_t, [B, H, W, C] each."""
    point = process.warped(_step(gamma_s, gamma_t))
    errors = errors_at(process, point, x, eps)
    return jnp.square(point.deviation(errors)), errors.estimate.x_hat


def encode_at(process: Process, x: jax.Array, gamma: jax.Array) -> Encoded:
    """The encodings of images x [B, H, W, C] at one γ."""
    return process.encoder.encode(x, process.gammas_of(gamma, len(x)))


def costs_to_all(
    process: Process, x: jax.Array, gammas: jax.Array, encoded: Encoded, t: jax.Array, eps: jax.Array
) -> dict[str, jax.Array]:
    """Nats per image [N] of the steps from gammas[t] to each of `gammas` [N], by the names of `Fit.costs`.

    Costs of s >= t, which are not steps, are 0. One call of the score network serves all steps from t.

    Args:
      encoded: [N, B, H, W, C] encodings of the images at all `gammas`.
    """
    shared = jnp.broadcast_to(gammas[t], (len(x),))
    gamma_t = process.gammas(shared)
    at_t = jax.tree.map(lambda arrays: arrays[t], encoded)
    z_t, v = diffuse(at_t.x_t, gamma_t, at_t.noise(eps))
    estimate = process.estimate(z_t, gamma_t)
    members = _members_of_bins(estimate.x_hat, jnp.square(v - estimate.v))
    count = jnp.sum(members, axis=1)

    def costs(s):
        at_s = jax.tree.map(lambda arrays: arrays[s], encoded)
        point = process.warped(_step(jnp.broadcast_to(gammas[s], shared.shape), shared))
        encoding = process.encoder.between(at_s, at_t, point.gamma_s, gamma_t)
        u = jnp.square(point.deviation(process.errors(point, estimate, v, encoding)))
        dims, mean = u[0].size, jnp.mean(u, axis=0)
        by_name = {name: jnp.mean(mean, axis=tuple(range(mean.ndim)[axes])) for name, axes in OPTIMAL.items()}
        nats = {name: dims * jnp.mean(best_cost(u)) for name, u in by_name.items()} | {FIXED: 0.5 * jnp.sum(mean)}
        by_bin = jnp.dot(members, u.ravel(), precision=jax.lax.Precision.HIGHEST) / jnp.maximum(count, 1.0)
        nats[OPTIMAL_ESTIMATE] = jnp.sum(count * best_cost(by_bin)) / len(u)
        if estimate.log_error is not None:
            w = ByErrorHead()(point.gamma_s, gamma_t, estimate)
            nats[LEARNED_ERROR] = jnp.mean(sum_dims(cost(w, u)))
        return nats

    none = jax.tree.map(lambda nats: jnp.zeros(nats.shape, nats.dtype), jax.eval_shape(costs, t))
    return jax.lax.map(lambda s: jax.lax.cond(s < t, costs, lambda s: none, s), jnp.arange(len(gammas)))


def _members_of_bins(x_hat: jax.Array, square: jax.Array) -> jax.Array:
    """[TIME_BINS, n] 1 where an entry of x̂, flat, lies in a bin; the bins of x̂ hold equal shares of the sum of √square.

    A product with it sums over bins. On accelerators it is faster than additions at computed places.
    """
    order = jnp.argsort(x_hat.ravel())
    share = jnp.cumsum(jnp.sqrt(square.ravel()[order]))
    number = jnp.minimum((share / jnp.maximum(share[-1], 1e-30) * TIME_BINS).astype(jnp.int32), TIME_BINS - 1)
    number = jnp.zeros_like(number).at[order].set(number)
    return (number == jnp.arange(TIME_BINS)[:, None]).astype(x_hat.dtype)


def _step(gamma_s: jax.Array, gamma_t: jax.Array) -> Step:
    """The steps from γ_t to γ_s; their errors depend on neither ratio nor depth."""
    one = jnp.float32(1.0)
    return Step(gamma_s, gamma_t, ratio=Table(one[None]), depth=one)


def _shuffled(run: BaseRun) -> np.ndarray:
    """The numbers of all training images in an order drawn by `fit.seed`."""
    return np.random.default_rng(run.config.fit.seed).permutation(len(run.dataset.split(FIT_SPLIT).data))


def fit_table(steps: Iterable[StepErrors], axes: slice) -> Table:
    """The best ratio per step for the mean error, shared over these axes of an example."""
    u = np.stack([errors.u.mean(axis=(0, *range(1, errors.u.ndim)[axes]), keepdims=True)[0] for errors in steps])
    return Table(best_ratio(jnp.asarray(u, jnp.float32)))


def fit_by_estimate(steps: Iterable[StepErrors], most: int) -> ByEstimate:
    """The best ratio per step for the mean error in bins of x̂: `most` bins, or fewer of `FEWEST` values on average.

    On held-out pairs of `digits:diffenc`, 96 bins cost 3.491, 2.317, 1.996 and 1.882 bits/dim at 5, 10, 20 and 50
    steps, and 24 bins 3.505, 2.367, 2.050 and 1.912. At 1,000 steps, of 1,920 values each, 24 bins cost 1.842 and 96
    bins 1.849. A factor per pixel would change these costs by at most 0.2 %, and a ratio per pixel costs more.
    """
    rows = []
    for errors in steps:
        bins = min(most, max(1, errors.u.size // FEWEST))
        rows.append(mean_by_bin(errors.x_hat.ravel(), errors.u.ravel(), bins))
    return ByEstimate(*(jnp.asarray(np.stack(table), jnp.float32) for table in zip(*rows, strict=True)))


def mean_by_bin(x: np.ndarray, u: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Means [bins] of x and of u in bins of x [N] that hold about equal shares of Σ √u.

    Bins of equal counts would resolve best where most pixels are and errors are small, such as a background. All
    samples of one x, in float32 as in the fitted table, fall into the bin that holds the middle of their share. So the
    means of x increase, and an x with the share of more than two bins has a bin of its own. The last filled bin is
    repeated in place of empty ones.
    """
    values, number = np.unique(x.astype(np.float32), return_inverse=True)
    count, total = np.bincount(number), np.bincount(number, u)
    weight = np.bincount(number, np.sqrt(u)) if total.sum() > 0 else count
    share = (np.cumsum(weight) - weight / 2) / weight.sum()
    filled, first = np.unique(np.minimum((share * bins).astype(int), bins - 1), return_index=True)
    means = (np.add.reduceat(sums, first) / np.add.reduceat(count, first) for sums in (count * values, total))
    knots, error = (np.pad(mean, (0, bins - len(filled)), mode="edge") for mean in means)
    return knots, error

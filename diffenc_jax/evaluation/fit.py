"""Steps fitted on training images after training, then frozen: the best times and the best ratios of variances.

Both follow from the error u = (μ_Q - μ_P)² / σ_Q² of a step, averaged over training images. A step costs ½ Σ u nats
at ratio 1 and ½ Σ ln(1 + u) nats at the best ratio (`steps.best_ratio`).
"""

import dataclasses
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config.sections import FIT_IMAGES, OPTIMAL, LossConfig
from diffenc_jax.core.errors import require
from diffenc_jax.core.streams import gaussian, stream
from diffenc_jax.data import fingerprints
from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.encoders import quotient_weight
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.losses import errors_at
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.steps import Step, Steps, best_cost, best_ratio
from diffenc_jax.diffusion.times import best_times
from diffenc_jax.model import Params
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel import mesh as sharding
from diffenc_jax.runs.experiment import Experiment

# The best times are points of the grid if that leaves each step this many intervals on average.
INTERVALS_PER_STEP = 8
FIT_SPLIT = "train"


def check_fit(experiment: Experiment) -> None:
    """Raises InputError if `config.fit` does not suit the data or the devices."""
    sharding.check_batch(experiment.mesh, num_fit_images(experiment), "fit.images")


def num_fit_images(experiment: Experiment) -> int:
    """`fit.images`, or its default; raises InputError if there are fewer training images than `fit.images`."""
    wanted, available = experiment.config.fit.images, len(experiment.dataset.splits[FIT_SPLIT])
    require(
        wanted is None or wanted <= available,
        f"fit.images={wanted} exceeds the {available} training images; take at most that many",
    )
    return min(FIT_IMAGES, available) if wanted is None else wanted


def fit_images(experiment: Experiment) -> np.ndarray:
    """The training images that fits use, uint8 [`num_fit_images`, H, W, C], drawn by `fit.seed`."""
    rows = _shuffled(experiment)[: num_fit_images(experiment)]
    return sharding.fetch(experiment.dataset.splits[FIT_SPLIT], rows)


def fit_description(experiment: Experiment) -> dict[str, Any]:
    """Everything that a fit depends on besides the model, for a record."""
    images = fit_images(experiment)
    used = {**dataclasses.asdict(experiment.config.fit), "images": len(images)}
    return {"split": FIT_SPLIT, "sha256": fingerprints.sha256(images), **used}


def steps_for(experiment: Experiment, params: Params, loss: LossConfig) -> Steps:
    """The steps of `loss`, of finite depth, fitted if `loss` asks for it."""
    if loss.is_fitted:
        return Fit(experiment, params).steps(loss)
    return experiment.model.steps(params, loss)


class Fit:
    """Steps fitted to one model and its parameters; each part is computed when it is first needed."""

    def __init__(self, experiment: Experiment, params: Params):
        """Raises InputError if `config.fit` does not suit the data or the devices."""
        check_fit(experiment)
        self._experiment, self._params = experiment, params
        self._model, self._config = experiment.model, experiment.config.fit
        self._num_images = num_fit_images(experiment)
        self._order = _shuffled(experiment)
        self._best_times: dict[tuple[str | float, int], np.ndarray] = {}
        # The ends of the steps are arguments, so that the networks are compiled once for all depths.
        self._squared_error = jax.jit(lambda params, *places: squared_error(self._model.bind(params), *places))

    def steps(self, loss: LossConfig) -> Steps:
        """The steps of `loss`, of finite depth."""
        steps = self._model.steps(self._params, loss)
        if loss.times == "optimal":
            steps = steps._replace(gamma=jnp.asarray(self._best_gamma(loss), steps.gamma.dtype))
        if loss.variance_ratio in OPTIMAL:
            error = jnp.asarray(self._mean_error(steps.gamma, loss), steps.gamma.dtype)
            steps = steps._replace(ratio=best_ratio(error))
        return steps

    @cached_property
    def grid(self) -> np.ndarray:
        """[grid + 1] the values of γ between which the costs of steps are tabulated."""
        gamma = self._model.bind(self._params).gamma
        return np.linspace(*(float(gamma(jnp.float32(t))) for t in (0.0, 1.0)), self._config.grid + 1)

    @cached_property
    def costs(self) -> dict[str | float, np.ndarray]:
        """[grid + 1, grid + 1] nats of the step from t (column) to s (row), by `variance_ratio`."""
        n = self._config.grid + 1
        costs = {ratio: np.full((n, n), np.inf) for ratio in (1.0, *OPTIMAL)}
        gammas = jnp.asarray(self.grid, jnp.float32)
        x = self._pixel_values(np.arange(self._num_images))

        @jax.jit
        def encode(params, x, gamma):
            return self._model.bind(params).encoder.mean(x, jnp.full(len(x), gamma))

        @jax.jit
        def errors(params, means, t, eps):
            return errors_to_all(self._model.bind(params), gammas, means, t, eps)

        means = jnp.stack([encode(self._params, x, gamma) for gamma in gammas])
        # One noise per image for all times: the costs are smooth in t, and the choice of times cannot exploit chance.
        eps = gaussian(stream(self._config.seed, "fit times"), x.shape)
        for t in range(1, n):
            u = hosts.all_gather(errors(self._params, means, t, eps)).astype(np.float64)
            u[t:] = 0.0  # not steps: s must be below t
            costs[1.0][:t, t] = 0.5 * u.sum(axis=(1, 2, 3))[:t]
            for ratio, axes in OPTIMAL.items():
                cost = best_cost(jnp.asarray(np.broadcast_to(_mean(u, axes), u.shape), jnp.float32))
                costs[ratio][:t, t] = np.asarray(cost, np.float64).sum(axis=(1, 2, 3))[:t]
        return costs

    def _best_gamma(self, loss: LossConfig) -> np.ndarray:
        """[depth + 1] the γ between which the steps cost least in total, at the ratio of `loss`.

        If the grid is too coarse for that many steps, the best choice of fewer steps is refined by monotone
        interpolation, since the best density of times tends to a limit.
        """
        from scipy.interpolate import PchipInterpolator  # a third of a second that training does not need

        ratio = loss.variance_ratio if loss.variance_ratio in OPTIMAL else 1.0
        depth = min(loss.depth, self._config.grid // INTERVALS_PER_STEP)
        if (ratio, depth) not in self._best_times:
            self._best_times[ratio, depth] = self.grid[best_times(self.costs[ratio], depth)]
        gamma = self._best_times[ratio, depth]
        return PchipInterpolator(np.arange(depth + 1) / depth, gamma)(np.arange(loss.depth + 1) / loss.depth)

    def _mean_error(self, gamma: jax.Array, loss: LossConfig) -> np.ndarray:
        """[T, ...] u of each step between `gamma` [T + 1], averaged over training images and the shared axes."""
        size, depth, gamma = self._num_images, loss.depth, hosts.all_gather(gamma)
        pairs = max(size * self._config.grid // depth, 1)  # of an image and a noise, per step
        total = jnp.zeros((depth, *self._model.spec.shape), jnp.float32)
        key = stream(self._config.seed, "fit ratio")
        for start in range(0, depth * pairs, size):
            pair = np.arange(start, start + size)
            # The last batch is filled up with pairs that do not count.
            step, counts = np.minimum(pair // pairs, depth - 1), np.float32(pair < depth * pairs)
            x = self._pixel_values(pair)
            eps = gaussian(jax.random.fold_in(key, start), x.shape)
            error = self._squared_error(self._params, x, gamma[step], gamma[step + 1], eps)
            total = _add_to_steps(total, step, counts, error)
        return _mean(hosts.all_gather(total).astype(np.float64) / pairs, OPTIMAL[loss.variance_ratio])

    def _pixel_values(self, numbers: np.ndarray) -> jax.Array:
        """x [B, H, W, C] of the training images with these numbers in the drawn order, which repeats."""
        images = sharding.fetch(self._experiment.dataset.splits[FIT_SPLIT], self._order[numbers % len(self._order)])
        pixels = sharding.to_devices(self._experiment.mesh, images)
        return decoder.pixel_values(pixels, self._model.spec.pixel_levels)


def squared_error(process: Process, x: jax.Array, gamma_s: jax.Array, gamma_t: jax.Array, eps: jax.Array) -> jax.Array:
    """u = (μ_Q - μ_P)² / σ_Q² [B, H, W, C] of the steps from γ_t [B] to γ_s [B]."""
    place = _step(gamma_s, gamma_t)
    return jnp.square(place.deviation(errors_at(process, place, x, eps)))


def errors_to_all(process: Process, gammas: jax.Array, means: jax.Array, t: jax.Array, eps: jax.Array) -> jax.Array:
    """u [N, H, W, C] of the steps from gammas[t] to each of `gammas` [N] below it, averaged over images.

    `means` [N, B, H, W, C] are the encoded images at all `gammas`, so that the score network is called once for all
    steps from t, and the encoder not at all.
    """
    gamma_t = jnp.full(eps.shape[:1], gammas[t])
    estimate = process.estimate(means[t], gamma_t, eps)

    def mean_error(gamma_s, x_s):
        place = _step(jnp.full_like(gamma_t, gamma_s), gamma_t)
        quotient = (means[t] - x_s) / align(quotient_weight(place.gamma_s, gamma_t), x_s)
        return jnp.mean(jnp.square(place.deviation(process.errors(place, estimate, quotient))), axis=0)

    return jax.lax.map(lambda s: mean_error(*s), (gammas, means))


def _step(gamma_s: jax.Array, gamma_t: jax.Array) -> Step:
    """The steps from γ_t to γ_s; their errors depend on neither ratio nor depth."""
    one = jnp.float32(1.0)
    return Step(gamma_s, gamma_t, ratio=one[None], depth=one)


@partial(jax.jit, donate_argnums=0)
def _add_to_steps(total: jax.Array, step: jax.Array, counts: jax.Array, error: jax.Array) -> jax.Array:
    """`total` [T, ...] plus each error [B, ...], multiplied by its count [B], at its step [B]."""
    return total.at[step].add(align(counts, error) * error)


def _shuffled(experiment: Experiment) -> np.ndarray:
    """The numbers of all training images in an order drawn by `fit.seed`."""
    return np.random.default_rng(experiment.config.fit.seed).permutation(len(experiment.dataset.splits[FIT_SPLIT]))


def _mean(u: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """[T, H, W, C] averaged over axes of the image, which are kept."""
    return u.mean(axis=tuple(axis + 1 for axis in axes), keepdims=True)

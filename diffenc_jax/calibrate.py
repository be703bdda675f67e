"""Steps for a trained model, fitted on training images and then frozen: the best times, the best ratio of variances.

Both come from the error u of a step (`losses.step_error`), averaged over training images. A step
costs ½ Σ u nats at ratio 1 and ½ Σ ln(1 + u) at the best ratio (`ratio.py`).
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax import hosts
from diffenc_jax.config import require, unpack
from diffenc_jax.data import fingerprints
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion import decoder, losses
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.ratio import best_cost, best_ratio
from diffenc_jax.diffusion.steps import Step, Steps
from diffenc_jax.diffusion.times import best_times
from diffenc_jax.model import OPTIMAL, LossConfig, Model, Params
from diffenc_jax.streams import gaussian, stream
from diffenc_jax.train import sharding

# The best times are chosen among the grid's points where that leaves each step this many intervals on average.
INTERVALS_A_STEP = 8
FIT_SPLIT = "train"


@dataclass(frozen=True)
class FitConfig:
    """`config.fit`: what `optimal` times and ratios are fitted on.

    Attributes:
      images: training images that the costs of steps are averaged over.
      grid: number of intervals of γ at whose ends steps may begin and end. The ratio's table is
        averaged over images · grid pairs of an image and a noise, spread evenly over the steps.
      seed: of the choice of images, and of their noise.
    """

    images: int
    grid: int
    seed: int

    def __post_init__(self):
        require(self.images >= 1, f"fit.images must be at least 1, not {self.images}")
        least = 2 * INTERVALS_A_STEP
        require(self.grid >= least, f"fit.grid must be at least {least}, not {self.grid}")

    @classmethod
    def of(cls, config: ConfigDict, dataset: Dataset) -> "FitConfig":
        """From `config.fit`; raises InputError where it does not suit the data."""
        section = unpack(cls, config.fit, "fit")
        available = len(dataset.splits[FIT_SPLIT])
        require(
            section.images <= available,
            f"fit.images={section.images} exceeds the {available} training images; take at most so many",
        )
        return section

    def order(self, dataset: Dataset) -> np.ndarray:
        """The numbers of all training images in the drawn order, of which the first `images` are taken."""
        return np.random.default_rng(self.seed).permutation(len(dataset.splits[FIT_SPLIT]))

    def chosen(self, dataset: Dataset) -> np.ndarray:
        """The images that are taken, uint8 [images, H, W, C]."""
        return sharding.fetch(dataset.splits[FIT_SPLIT], self.order(dataset)[: self.images])

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """For a record: all that a fit depends on besides the model."""
        return {"split": FIT_SPLIT, "sha256": fingerprints.sha256(self.chosen(dataset)), **vars(self)}


class Calibration:
    """What is fitted to one model and its parameters, each part when it is first asked for."""

    def __init__(self, model: Model, params: Params, config: ConfigDict, dataset: Dataset, mesh: Mesh):
        self.check(config, dataset, mesh)
        self.settings = FitConfig.of(config, dataset)
        self._model, self._params, self._mesh = model, params, mesh
        self._images = dataset.splits[FIT_SPLIT]
        self._order = self.settings.order(dataset)
        self._add_errors = jax.jit(partial(_add_errors, model), donate_argnums=0)
        self._best_times: dict[tuple[str | None, int], np.ndarray] = {}

    @staticmethod
    def check(config: ConfigDict, dataset: Dataset, mesh: Mesh) -> None:
        """Raises InputError where `config.fit` does not suit the data or the devices."""
        sharding.check_batch(mesh, FitConfig.of(config, dataset).images, "fit.images")

    def steps(self, loss: LossConfig) -> Steps:
        """The steps that `loss` asks for, of finite depth."""
        steps = self._model.steps(self._params, loss)
        if loss.times == "optimal":
            steps = steps._replace(gamma=jnp.asarray(self._gamma(loss), steps.gamma.dtype))
        if loss.variance_ratio in OPTIMAL:
            steps = steps._replace(ratio=best_ratio(jnp.asarray(self._errors(steps.gamma, loss), steps.gamma.dtype)))
        return steps

    def _gamma(self, loss: LossConfig) -> np.ndarray:
        """[depth + 1] the γ between which steps cost least in all, at the ratio that `loss` will have.

        Where the grid is too coarse for so many steps, the best coarser choice is refined by
        monotone interpolation, as the best density of times tends to a limit.
        """
        from scipy.interpolate import PchipInterpolator  # a third of a second that training does not need

        per = loss.variance_ratio if loss.variance_ratio in OPTIMAL else None
        depth = min(loss.depth, self.settings.grid // INTERVALS_A_STEP)
        if (per, depth) not in self._best_times:
            self._best_times[per, depth] = self._grid[best_times(self._costs[per], depth)]
        gamma = self._best_times[per, depth]
        return PchipInterpolator(np.arange(depth + 1) / depth, gamma)(np.arange(loss.depth + 1) / loss.depth)

    @cached_property
    def _grid(self) -> np.ndarray:
        gamma = self._model.gamma(self._params)
        return np.linspace(*(float(gamma(jnp.float32(t))) for t in (0.0, 1.0)), self.settings.grid + 1)

    @cached_property
    def _costs(self) -> dict[str | None, np.ndarray]:
        """[grid + 1, grid + 1] nats of the step from t (column) to s (row), by kind of ratio; None for ratio 1."""
        n = self.settings.grid + 1
        costs = {per: np.full((n, n), np.inf) for per in (None, *OPTIMAL)}
        gammas = jnp.asarray(self._grid, jnp.float32)
        x = self._values(np.arange(self.settings.images))
        encode = jax.jit(lambda params, x, gamma: self._model.encoder(params).mean(x, jnp.full(len(x), gamma)))
        means = jnp.stack([encode(self._params, x, gamma) for gamma in gammas])
        errors = jax.jit(partial(_errors_from, self._model))
        # One noise an image for all times: the costs are then smooth in t, and no choice of times can
        # gain from the luck of one of them.
        eps = gaussian(stream(self.settings.seed, "fit times"), x.shape)
        for t in range(1, n):
            u = hosts.whole(errors(self._params, gammas, means, t, eps)).astype(np.float64)
            u[t:] = 0.0  # no steps: s must lie below t
            costs[None][:t, t] = 0.5 * u.sum(axis=(1, 2, 3))[:t]
            for per, axes in OPTIMAL.items():
                cost = best_cost(jnp.asarray(np.broadcast_to(_mean(u, axes), u.shape), jnp.float32))
                costs[per][:t, t] = np.asarray(cost, np.float64).sum(axis=(1, 2, 3))[:t]
        return costs

    def _errors(self, gamma: jax.Array, loss: LossConfig) -> np.ndarray:
        """u of each step between `gamma` [T + 1], averaged over training images: [T, ...], as `loss` shares it."""
        settings, depth = self.settings, loss.depth
        size, pairs = settings.images, max(settings.images * settings.grid // depth, 1)
        total = jnp.zeros((depth, *self._model.spec.shape), jnp.float32)
        key = stream(settings.seed, "fit ratio")
        for start in range(0, depth * pairs, size):
            pair = np.arange(start, start + size)
            # The last batch is filled up with pairs that count for nothing.
            step, count = np.minimum(pair // pairs, depth - 1), np.float32(pair < depth * pairs)
            x = self._values(pair)
            eps = gaussian(jax.random.fold_in(key, start), x.shape)
            total = self._add_errors(total, self._params, x, gamma, step, count, eps)
        return _mean(hosts.whole(total).astype(np.float64) / pairs, OPTIMAL[loss.variance_ratio])

    def _values(self, numbers: np.ndarray) -> jax.Array:
        """The training images of these numbers in the drawn order, which begins again at its end."""
        images = sharding.fetch(self._images, self._order[numbers % len(self._order)])
        return decoder.pixel_values(sharding.to_devices(self._mesh, images), self._model.spec.levels)


def steps_for(
    loss: LossConfig, model: Model, params: Params, config: ConfigDict, dataset: Dataset, mesh: Mesh
) -> Steps:
    """The steps that `loss` asks for, of finite depth, fitted on `dataset` where they are to be."""
    if loss.fitted:
        return Calibration(model, params, config, dataset, mesh).steps(loss)
    return model.steps(params, loss)


def _mean(u: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """[T, H, W, C] averaged over axes of the image, which are kept."""
    return u.mean(axis=tuple(axis + 1 for axis in axes), keepdims=True)


def _add_errors(model: Model, total: jax.Array, params: Params, x, gamma, step, count, eps) -> jax.Array:
    """`total` [T, H, W, C] plus the `losses.step_error` of `step` [B] between `gamma` [T + 1], times `count` [B]."""
    one = jnp.float32(1.0)  # the error depends on no ratio and no depth
    at = Step(gamma[step], gamma[step + 1], ratio=one[None], depth=one)
    u = losses.step_error(model.encoder(params), model.predict_v(params), model.extrapolation, x, at, eps)
    return total.at[step].add(u * align(count, u))


def _errors_from(model: Model, params: Params, gammas: jax.Array, means: jax.Array, t: jax.Array, eps: jax.Array):
    """[N, H, W, C] mean errors of the steps from gammas[t] to each of `gammas` [N] below it.

    As `losses.step_error`, from encoded images that are there already: means [N, B, H, W, C]. So the
    networks are called once for all steps from t.
    """
    gamma_t = jnp.full(eps.shape[:1], gammas[t])
    wrong, x_hat = losses.estimate(model.predict_v(params), means[t], gamma_t, eps)

    def to(gamma_s, x_s):
        gamma_s = jnp.full_like(gamma_t, gamma_s)
        quotient = (means[t] - x_s) / align(-jnp.expm1(gamma_s - gamma_t) * jax.nn.sigmoid(gamma_t), x_s)
        deviation = losses.step_deviation_from(wrong, x_hat, quotient, model.extrapolation, gamma_s, gamma_t)
        return jnp.mean(jnp.square(deviation), axis=0)

    return jax.lax.map(lambda pair: to(*pair), (gammas, means))

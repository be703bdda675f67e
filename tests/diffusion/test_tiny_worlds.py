"""Every process of the registry, in a world of one pixel with an exact denoiser: its bound lies little above the truth.

The truth follows from the density of z_0 under the model, on a grid. With a variance ratio that depends on z_t, the
weights of paths and samples have this density too.
"""

from dataclasses import MISSING, fields
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.ancestral import ancestral, model_step
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Affine, Identity, NonTrainable
from diffenc_jax.diffusion.gaussian import align, alpha, sigma, velocity_from_image
from diffenc_jax.diffusion.importance_weights import log_weight
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.ratios import ByErrorHead, ByEstimate, Table
from diffenc_jax.diffusion.reverse import ThroughEncoder, linear
from tests import tiny
from tests.diffusion.law import EPS, EPS_WEIGHTS
from tests.registered import CODES, ENCODERS, SCHEDULES

LEVELS, DEPTH, ENDS = 4, 8, (-2.5, 3.0)
X = (2 * np.arange(LEVELS)[:, None] + 1) / LEVELS - 1
GRID, WIDTH = np.linspace(-7.0, 7.0, 281, retstep=True)
CODE_OF = np.repeat(np.eye(2), LEVELS // 2, axis=0)  # the code of dark and of bright pixels


def network(x, gamma):
    return 0.4 * jnp.sin(3.0 * x + 0.4 * align(gamma, x))


def two_outputs(x, gamma):
    """Network of an encoder that scales the noise by different factors for different images, all of them above 1."""
    return jnp.concatenate([network(x, gamma), 1.5 + 0.2 * jnp.cos(3.0 * x)], axis=1)


def made(kind, **others):
    """An encoder or a code of this class, with the values of its fields."""
    values = {"network": network, "amount": 0.6, "reach": 0.5, "units": 2, "active": 1} | others
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.default is MISSING})


def schedule_of(kind, code_units):
    """γ(t) and, for a schedule per dimension, (γ, code) -> γ_i, away from its initial parameters."""
    if not SCHEDULES[kind].per_dimension:
        schedule = SCHEDULES[kind](*ENDS)
        start = schedule.init(jax.random.key(0), jnp.zeros(1))
        return partial(schedule.apply, tiny.away_from_zero(start, scale=0.2)), None
    schedule = SCHEDULES[kind](*ENDS, shape=(1,), code_units=code_units)
    code = jnp.zeros((1, code_units)) if code_units else None
    start = schedule.init(jax.random.key(0), jnp.zeros(1), code, method="warp")
    return partial(schedule.apply, start), partial(schedule.apply, tiny.away_from_zero(start, scale=0.2), method="warp")


def exact(encoder, through, allowed):
    """E[x_t | z_t], or E[x | z_t] `through` the encoder, for pixels that are equally likely where `allowed` [B, V]."""

    def predict(z, gamma):
        at = [encoder.encode(jnp.full_like(z, x), gamma) for x in X[:, 0]]
        x_t = jnp.concatenate([one.x_t for one in at], axis=1)
        log_std = jnp.concatenate([jnp.zeros_like(z) if one.log_std is None else one.log_std for one in at], axis=1)
        distance = (z - align(alpha(gamma), z) * x_t) / (align(sigma(gamma), z) * jnp.exp(log_std))
        posterior = jax.nn.softmax(jnp.where(allowed, -0.5 * distance**2 - log_std, -jnp.inf), axis=1)
        x_hat = jnp.sum(posterior * (X[:, 0] if through else x_t), axis=1, keepdims=True)
        return Prediction(velocity_from_image(z, x_hat, gamma), log_error=0.5 * jnp.cos(2.0 * z) - 2.2)

    return predict


# Ratios above 1/2, below which the weights of paths have no variance.
ROWS = np.linspace(0.8, 1.2, DEPTH)[:, None]
RATIOS = {
    "one": Table(np.ones(DEPTH)),
    "table": Table(np.linspace(0.55, 1.2, DEPTH)),
    "estimate": ByEstimate([-1.0, -0.2, 0.1, 0.9] * np.ones_like(ROWS), [0.05, 0.7, 0.1, 0.5] * ROWS),
    "error_head": ByErrorHead(),
}


class World(NamedTuple):
    """A process by its parts: an encoder, whether x̂ is of the image, a schedule, a code, and the ratio of the steps."""

    kind: type
    through: bool = False
    schedule: str = "fixed_linear"
    code: Any = None
    ratio: str = "one"

    def bind(self, codes=None):
        """The process of a batch of codes [B, n]."""
        encoder = made(self.kind, **({"network": two_outputs} if self.kind.scales_noise else {}))
        gamma, warp = schedule_of(self.schedule, self.code.units if self.code else 0)
        allowed = True if self.code is None else codes @ CODE_OF.T > 0
        predict, warp = exact(encoder, self.through, allowed), warp and partial(warp, code=codes)
        assumption, nats = ThroughEncoder() if self.through else linear, self.code.nats if self.code else 0.0
        return Process(encoder, predict, gamma, assumption, Levels(LEVELS), codes, warp, nats, self.bind)

    def steps(self, process):
        return process.uniform_steps(DEPTH)._replace(ratio=jax.tree.map(jnp.asarray, RATIOS[self.ratio]))

    def density(self, codes=None):
        """p(z_0), or p(z_0 | code), on the grid."""
        process, z = self.bind(codes), jnp.asarray(GRID)[:, None]
        steps = self.steps(process)

        def body(k, p):
            mean, std = model_step(process, z, process.step(steps, DEPTH - 1 - k, len(z)))
            return WIDTH * p @ jax.scipy.stats.norm.pdf(GRID, mean, std)

        return jax.lax.fori_loop(0, DEPTH, body, jax.scipy.stats.norm.pdf(GRID))

    @cache  # noqa: B019
    def probabilities(self):
        """p(pixel) [V] by the density of z_0 on the grid."""

        @jax.jit
        def compute():
            of_code = lambda code: self.density(jnp.tile(code, (len(GRID), 1)))  # noqa: E731
            p_0 = jax.vmap(of_code)(jnp.eye(2)).mean(axis=0) if self.code else self.density()
            return WIDTH * likelihoods(self.bind(jnp.asarray(CODE_OF) if self.code else None), GRID) @ p_0

        return np.asarray(compute())


def likelihoods(process, z_0):
    """p(pixel | z_0) [V, N] at z_0 [N]."""
    gamma_0 = process.endpoints[0]
    u, pixels = jnp.meshgrid(z_0 / alpha(gamma_0), jnp.arange(LEVELS, dtype=jnp.uint8))
    return jnp.exp(Levels(LEVELS).log_probabilities(u, pixels, gamma_0))


def worlds():
    """Every encoder and schedule in one of the worlds, every second encoder that drifts with x̂ of the image, and codes.

    That the loss is the model's for each pair of an encoder and an assumption is in test_steps.py.
    """
    kinds = list({kind.__name__: kind for kind in ENCODERS.values()}.values())
    for i in range(max(len(kinds), len(SCHEDULES))):
        kind, schedule = kinds[i % len(kinds)], list(SCHEDULES)[i % len(SCHEDULES)]
        yield World(kind, kind.scales_noise or (kind.drifts and i % 2 == 0), schedule)
    for code in CODES.values():
        if code.network_kind:
            yield World(Identity, schedule="polynomial", code=made(code))


WITH_RATIOS = [
    World(NonTrainable, ratio="estimate"),
    World(Affine, through=True, ratio="table"),
    World(Identity, schedule="polynomial", ratio="error_head"),
]


@pytest.mark.parametrize("world", [*worlds(), *WITH_RATIOS], ids=lambda world: f"{world[0].__name__}-{world[2]}")
def test_the_bound_lies_above_the_truth(x64, world):
    numbers, t, eps = np.meshgrid(np.arange(LEVELS), (np.arange(DEPTH) + 0.5) / DEPTH, EPS[::3], indexing="ij")
    pixels, t, eps = (jnp.asarray(array.ravel()) for array in (numbers.astype(np.uint8), t, eps))
    pixels, eps = pixels[:, None], eps[:, None]

    @jax.jit
    def nats():
        process = world.bind(jnp.asarray(CODE_OF[numbers.ravel()]) if world.code else None)
        point = process.point(t, world.steps(process))
        return losses.bound_at(process, pixels, point, losses.Noise(t, eps, eps)).total

    bounds = np.asarray(nats()).reshape(LEVELS, DEPTH, -1).mean(axis=1) @ (EPS_WEIGHTS[::3] / EPS_WEIGHTS[::3].sum())
    exact = -np.log(world.probabilities())
    assert np.exp(-exact).sum() == pytest.approx(1.0, abs=1e-5)
    assert np.all(bounds > exact)
    assert np.all(bounds < exact + 1.0)


@pytest.mark.parametrize("world", WITH_RATIOS, ids=lambda world: world.ratio)
def test_paths_and_samples_have_the_probabilities(x64, world):
    """E w = p(x) of the weights of paths (importance_weights.py), and pixels are drawn with p(x)."""
    process, count = world.bind(), 10_000
    noise = jnp.asarray(np.random.RandomState(0).normal(size=(DEPTH + 1, count, 1)))

    @jax.jit
    def weights_and_likelihoods():
        steps, draw = world.steps(process), lambda k: noise[k + 1]
        each = jnp.repeat(jnp.arange(LEVELS, dtype=jnp.uint8)[:, None, None], count, axis=1)
        weights = jax.vmap(lambda pixels: jnp.exp(log_weight(process, steps, pixels, noise[0], draw)))(each)
        return weights, likelihoods(process, ancestral(process, steps, noise[0], draw)[:, 0])

    for values in map(np.asarray, weights_and_likelihoods()):
        error = np.abs(values.mean(axis=1) - world.probabilities())
        assert np.all(error < 4 * values.std(axis=1) / np.sqrt(count))

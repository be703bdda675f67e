"""Every process of the registry, in a world of one pixel with an exact denoiser: its bound lies little above the truth.

The truth follows from the density of z_0 under the model, on a grid.
"""

from dataclasses import MISSING, fields
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.gaussian import align, alpha, sigma, velocity_from_image
from diffenc_jax.diffusion.process import Prediction, Process
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
        return Prediction(velocity_from_image(z, x_hat, gamma))

    return predict


def process_of(kind, through=False, schedule="fixed_linear", code=None):
    """Codes [B, n], or None -> the process of a batch of them."""
    encoder = made(kind, **({"network": two_outputs} if kind.scales_noise else {}))
    gamma, warp = schedule_of(schedule, code.units if code else 0)

    def bind(codes):
        allowed = True if code is None else codes @ CODE_OF.T > 0
        predict, warp_of_batch = exact(encoder, through, allowed), warp and partial(warp, code=codes)
        assumption, nats = ThroughEncoder() if through else linear, code.nats if code else 0.0
        return Process(encoder, predict, gamma, assumption, Levels(LEVELS), codes, warp_of_batch, nats, bind)

    return bind


def model_density(process):
    """p(z_0), or p(z_0 | code), on the grid."""
    z, steps = jnp.asarray(GRID)[:, None], process.uniform_steps(DEPTH)

    def body(k, p):
        mean, std = model_step(process, z, process.step(steps, DEPTH - 1 - k, len(z)))
        return WIDTH * p @ jax.scipy.stats.norm.pdf(GRID, mean, std)

    return jax.lax.fori_loop(0, DEPTH, body, jax.scipy.stats.norm.pdf(GRID))


def truth(process, p_0):
    """-ln p(pixel) [V] from p(z_0) on the grid."""
    gamma_0 = process.endpoints[0]
    u, pixels = jnp.meshgrid(GRID / alpha(gamma_0), jnp.arange(LEVELS, dtype=jnp.uint8))
    return -jnp.log(WIDTH * jnp.exp(Levels(LEVELS).log_probabilities(u, pixels, gamma_0)) @ p_0)


def worlds():
    """Every encoder and schedule in one of the worlds, every second encoder that drifts with x̂ of the image, and codes.

    That the loss is the model's for each pair of an encoder and an assumption is in test_steps.py.
    """
    kinds = list({kind.__name__: kind for kind in ENCODERS.values()}.values())
    for i in range(max(len(kinds), len(SCHEDULES))):
        kind, schedule = kinds[i % len(kinds)], list(SCHEDULES)[i % len(SCHEDULES)]
        yield kind, kind.scales_noise or (kind.drifts and i % 2 == 0), schedule
    for code in CODES.values():
        if code.network_kind:
            yield Identity, False, "polynomial", made(code)


@pytest.mark.parametrize("world", list(worlds()), ids=lambda world: f"{world[0].__name__}-{world[2]}")
def test_the_bound_lies_above_the_truth(x64, world):
    has_code = len(world) > 3
    numbers, t, eps = np.meshgrid(np.arange(LEVELS), (np.arange(DEPTH) + 0.5) / DEPTH, EPS[::3], indexing="ij")
    pixels, t, eps = (jnp.asarray(array.ravel()) for array in (numbers.astype(np.uint8), t, eps))
    pixels, eps = pixels[:, None], eps[:, None]

    @jax.jit
    def nats_and_truth():
        bind = process_of(*world)
        density = lambda code: model_density(bind(jnp.tile(code, (len(GRID), 1))))  # noqa: E731
        p_0 = jax.vmap(density)(jnp.eye(2)).mean(axis=0) if has_code else model_density(bind(None))
        process = bind(jnp.asarray(CODE_OF[numbers.ravel()]) if has_code else None)
        point = process.point(t, process.uniform_steps(DEPTH))
        return losses.bound_at(process, pixels, point, losses.Noise(t, eps, eps)).total, truth(process, p_0)

    nats, exact = map(np.asarray, nats_and_truth())
    bounds = nats.reshape(LEVELS, DEPTH, -1).mean(axis=1) @ (EPS_WEIGHTS[::3] / EPS_WEIGHTS[::3].sum())
    assert np.exp(-exact).sum() == pytest.approx(1.0, abs=1e-5)
    assert np.all(bounds > exact)
    assert np.all(bounds < exact + 1.0)

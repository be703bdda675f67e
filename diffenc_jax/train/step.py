"""One training step: pure, jitted once, its state donated."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from diffenc_jax.diffusion.times import antithetic
from diffenc_jax.model import Model
from diffenc_jax.streams import at_step
from diffenc_jax.train import sharding
from diffenc_jax.train.metrics import Meter
from diffenc_jax.train.state import TrainState


class Report(NamedTuple):
    """What the host looks at, a step or two later: `finite` says whether the step may be kept."""

    finite: jax.Array
    meter: Meter


def train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    ema_decay: float,
    seed: int,
    log_every: int,
    state: TrainState,
    pixels: jax.Array,
) -> tuple[TrainState, Report]:
    """One step on a global batch uint8 [B, H, W, C], minimising bits/dim.

    All of its randomness comes from (seed, stream, state.step).
    """
    t = antithetic(jax.random.uniform(at_step(seed, "time", state.step)), pixels.shape[0])
    noise = model.draw_noise(at_step(seed, "noise", state.step), t)
    dropout_key = at_step(seed, "dropout", state.step)

    def loss(params):
        terms = model.terms(params, pixels, noise, dropout_key)
        return terms.total.mean() / (model.spec.dims * math.log(2)), terms

    (bpd, terms), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    grad_norm = optax.global_norm(grads)
    meter = state.meter.plus(Meter.of_step(terms, t, model.spec.dims, grad_norm), restart=state.step % log_every == 0)
    state = TrainState(
        step=state.step + 1,
        params=params,
        ema=optax.incremental_update(params, state.ema, 1.0 - ema_decay),
        opt_state=opt_state,
        meter=meter,
    )
    return state, Report(jnp.isfinite(bpd) & jnp.isfinite(grad_norm), meter)


def jit_train_step(step: Callable, mesh: Mesh, state_shardings: TrainState) -> Callable:
    """(state, pixels) -> (state, report) over `mesh`; the state's buffers are reused."""
    return jax.jit(
        step,
        in_shardings=(state_shardings, sharding.batched(mesh)),
        out_shardings=(state_shardings, sharding.replicated(mesh)),
        donate_argnums=0,
    )

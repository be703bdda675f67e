"""One training step: pure, jitted once, its state donated."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.diffusion.times import antithetic
from diffenc_jax.model import Model, Params
from diffenc_jax.streams import at_step
from diffenc_jax.train import sharding
from diffenc_jax.train.metrics import Meter
from diffenc_jax.train.optimizer import TrainConfig, make_optimizer
from diffenc_jax.train.state import TrainState, init_state


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

    With a second head its mean squared error is minimised besides, by its own parameters alone: it has no gradient
    by any other.

    All of its randomness comes from (seed, stream, state.step).
    """
    t = antithetic(jax.random.uniform(at_step(seed, "time", state.step)), pixels.shape[0])
    noise = model.draw_noise(at_step(seed, "noise", state.step), t)
    dropout_key = at_step(seed, "dropout", state.step)

    def loss(params, at=None):
        terms, derivative = model.terms_and_derivative(params, pixels, noise, dropout_key, at)
        bpd = terms.total.mean() / (model.spec.dims * math.log(2))
        objective = bpd if derivative is None else bpd + derivative.mean() / model.spec.dims
        return objective, (terms, derivative)

    if model.loss.depth is None and model.schedule.interior:
        (objective, looked), grads = _with_interior_on_variance(model, loss, state.params, t)
    else:
        (objective, looked), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    terms, derivative = looked
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    grad_norm = optax.global_norm(grads)
    metered = Meter.of_step(terms, t, model.spec.dims, grad_norm, derivative)
    meter = state.meter.plus(metered, restart=state.step % log_every == 0)
    state = TrainState(
        step=state.step + 1,
        params=params,
        ema=optax.incremental_update(params, state.ema, 1.0 - ema_decay),
        opt_state=opt_state,
        meter=meter,
    )
    return state, Report(jnp.isfinite(objective) & jnp.isfinite(grad_norm), meter)


def _with_interior_on_variance(
    model: Model, loss: Callable, params: Params, t: jax.Array
) -> tuple[tuple[jax.Array, tuple[Terms, jax.Array | None]], Params]:
    """The loss and its gradient, with that of E[diffusion²] for the schedule's interior.

    arXiv 2107.00630, appendix I.2.
    The bound at infinite depth does not depend on the interior, so its square's mean tells its
    variance. An example's loss ℓ sees the schedule through its own γ_t and γ'(t) alone, so the
    cotangents of those serve both: times 2 ℓ they are those of ℓ², and the networks are run and
    differentiated once.
    """
    at, pull = jax.vjp(lambda schedule: model.at(params | {"schedule": schedule}, t), params["schedule"])
    (objective, looked), (grads, by_place) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, at)
    weight = 2.0 * looked[0].diffusion / (model.spec.dims * math.log(2))
    (on_bound,), (on_variance,) = pull(by_place), pull(jax.tree.map(lambda cotangent: cotangent * weight, by_place))
    schedule = jax.tree.map(jnp.add, grads["schedule"], on_bound)
    schedule |= {name: on_variance[name] for name in model.schedule.interior}
    return (objective, looked), grads | {"schedule": schedule}


def init_and_step(
    model: Model, settings: TrainConfig, seed: int, log_every: int
) -> tuple[Callable[[], TrainState], Callable[[TrainState, jax.Array], tuple[TrainState, Report]]]:
    """The pure functions that a run is made of: () -> its first state, and `train_step` of (state, pixels)."""
    optimizer = make_optimizer(settings)
    init = partial(init_state, model, optimizer, seed)
    return init, partial(train_step, model, optimizer, settings.ema_decay, seed, log_every)


def jit_train_step(step: Callable, mesh: Mesh, state_shardings: TrainState) -> Callable:
    """(state, pixels) -> (state, report) over `mesh`; the state's buffers are reused."""
    return jax.jit(
        step,
        in_shardings=(state_shardings, sharding.batched(mesh)),
        out_shardings=(state_shardings, sharding.replicated(mesh)),
        donate_argnums=0,
    )

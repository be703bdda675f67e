"""One training step: pure, jitted once, its state donated."""

import math
import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax import memory
from diffenc_jax.config import require, unpack
from diffenc_jax.model import Model, Params
from diffenc_jax.streams import at_step
from diffenc_jax.train import sharding
from diffenc_jax.train.draws import draw
from diffenc_jax.train.gradients import gradient
from diffenc_jax.train.metrics import LogConfig, Meter
from diffenc_jax.train.optimizer import TrainConfig, make_optimizer
from diffenc_jax.train.state import TrainState, init_state

# For LLVM on a CPU, where XLA_FLAGS do not say: it compiles a sixth sooner, and a step, most of which is library calls,
# is not slower.
OPTIMIZATION_LEVEL = "xla_backend_optimization_level"
CPU_OPTIONS = {} if OPTIMIZATION_LEVEL in os.environ.get("XLA_FLAGS", "") else {OPTIMIZATION_LEVEL: 1}


class Report(NamedTuple):
    """What the host looks at, a step or two later: `finite` says whether the step counts."""

    finite: jax.Array
    meter: Meter


def train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    settings: TrainConfig,
    seed: int,
    log_every: int,
    devices: int,
    state: TrainState,
    pixels: jax.Array,
) -> tuple[TrainState, Report]:
    """One step on a global batch uint8 [B, H, W, C], minimising bits/dim.

    With a second head its mean squared error is minimised besides, by its own parameters alone: it has no gradient
    by any other. The end points, 0.5 % of the bound, are looked at in one of `settings.ends_every` images (in more of
    a batch that this does not divide), in others at each step. Times are spread evenly over the batch, by the uniform
    density or by that of `state.losses`, and weighted by its inverse. For `devices` see `gradients.gradient`.

    A step whose loss or gradient is not finite is not counted in the meter, and with settings.on_nonfinite 'skip' it
    leaves all but that and the step's number as it was. All of its randomness comes from (seed, stream, state.step).
    """
    time_key, noise_key, dropout_key = (at_step(seed, name, state.step) for name in ("time", "noise", "dropout"))
    k = math.gcd(settings.ends_every, len(pixels) // settings.accumulate)
    drawn = draw(model, pixels, state.losses, time_key, noise_key, state.step, k)
    looked, grads = gradient(model, state.params, drawn, dropout_key, settings.accumulate, devices)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    grad_norm = _norm(grads)
    metered = Meter.of_step(looked.terms, looked.t, looked.weight, model.spec.dims, grad_norm, looked.derivative)
    finite = jnp.isfinite(looked.objective) & jnp.isfinite(grad_norm)
    meter = state.meter.plus(metered, restart=state.step % log_every == 0, counts=finite)
    stepped = TrainState(
        step=state.step + 1,
        params=params,
        ema=optax.incremental_update(params, state.ema, 1.0 - settings.ema_decay),
        opt_state=opt_state,
        meter=meter,
        losses=None if state.losses is None else state.losses.plus(looked.t, looked.terms.diffusion),
    )
    if settings.on_nonfinite == "skip":
        kept = jax.tree.map(partial(jnp.where, finite), stepped, state)
        stepped = kept.replace(step=stepped.step, meter=meter)
    return stepped, Report(finite, meter)


def init_and_step(
    model: Model, config: ConfigDict, devices: int = 1
) -> tuple[Callable[[], TrainState], Callable[[TrainState, jax.Array], tuple[TrainState, Report]]]:
    """The pure functions that a run on so many devices is made of: () -> its first state; (state, pixels) -> a step.

    Raises InputError where `model` cannot be trained as `config` says.
    """
    settings, log_every = unpack(TrainConfig, config.train, "train"), unpack(LogConfig, config.log, "log").every_steps
    optimizer = make_optimizer(settings)
    require(
        settings.time_sampling == "uniform" or not (model.loss.depth is None and model.schedule.interior),
        "train.time_sampling=importance is for a fixed schedule: a learned one lowers the loss's variance itself",
    )
    init = partial(init_state, model, optimizer, config.seed, settings.time_sampling == "importance")
    step = partial(train_step, model, optimizer, settings, config.seed, log_every, devices)
    return init, step


def _norm(tree: Params) -> jax.Array:
    """The norm of all leaves together, of few parts, as each is compiled for itself: those on all devices are one."""
    leaves = jax.tree.leaves(tree)
    small = [x.ravel() for x in leaves if x.size < sharding.MIN_SHARDED_SIZE]
    parts = [jnp.concatenate(small), *(x for x in leaves if x.size >= sharding.MIN_SHARDED_SIZE)]
    squares = [jnp.tensordot(x, x, x.ndim, precision=jax.lax.Precision.HIGHEST) for x in parts]
    return jnp.sqrt(sum(squares))


class Program(NamedTuple):
    """A run on a mesh, none of whose devices need be at hand before it is called.

    Attributes:
      init: () -> the state before the first step.
      step: (state, pixels) -> (state, report); the state's buffers are reused.
      state, pixels: ShapeDtypeStructs of what `step` takes, with their shardings.
    """

    init: Callable[[], TrainState]
    step: Callable[[TrainState, jax.Array], tuple[TrainState, Report]]
    state: TrainState
    pixels: jax.ShapeDtypeStruct

    def compiled(self) -> jax.stages.Compiled:
        """`step`, compiled; what the compiler took is given back to the system."""
        step = self.step.lower(self.state, self.pixels).compile()
        memory.give_back()
        return step


def make_program(model: Model, config: ConfigDict, mesh: Mesh) -> Program:
    """The run of `config` on `mesh`; nothing is compiled yet.

    Raises InputError where batches do not divide over the mesh, or `model` cannot be trained as `config` says.
    """
    init, step = init_and_step(model, config, mesh.size)
    sharding.check_batch(mesh, config.train.batch_size, "train.batch_size", config.train.accumulate)
    shapes = jax.eval_shape(init)
    of_state, batched = sharding.of_state(mesh, shapes), sharding.batched(mesh)
    step = jax.jit(
        step,
        in_shardings=(of_state, batched),
        out_shardings=(of_state, sharding.replicated(mesh)),
        donate_argnums=0,
        compiler_options=CPU_OPTIONS if mesh.devices.flat[0].platform == "cpu" else None,
    )
    pixels = jax.ShapeDtypeStruct((config.train.batch_size, *model.spec.shape), jnp.uint8, sharding=batched)
    return Program(jax.jit(init, out_shardings=of_state), step, sharding.abstract(shapes, of_state), pixels)

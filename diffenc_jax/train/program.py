"""One training step: a pure function, compiled once, that reuses the memory of its state."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu.metrics import Collection
from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.core import parts, runtime
from diffenc_jax.core.errors import require
from diffenc_jax.core.streams import Seed, at_step, stream, uniform
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.times import antithetic, by_density
from diffenc_jax.model import Model, Params, outside_parts
from diffenc_jax.model.augmentation import make_augmentation
from diffenc_jax.parallel import memory, sharding
from diffenc_jax.train.gradients import StepInputs, accumulated_gradient, every_kth, gradient, learns_interior
from diffenc_jax.train.optimizers import ema_decay, make_optimizer, with_rates_at
from diffenc_jax.train.state import LossHistory, TrainState, meter_type, metrics_of_step

STEP = "a training step"  # in messages


class StepReport(NamedTuple):
    """The values of a step that the host reads a few steps later.

    Attributes:
      finite: bool [], whether the loss, its gradient and the updated state are finite.
      meter: the metrics since the meter of the state was restarted.
    """

    finite: Any
    meter: Collection


class TrainingProgram:
    """A training run as pure functions: `init` makes its first state, `train_step` makes one step.

    All randomness comes from (seed, name of the stream, number of the step). The seed is an argument, uint32 [], so
    that runs of other seeds need no compilation of their own. On a mesh, `start` and `compiled` have the shardings of
    the state; the devices of the mesh need not exist until one of the two is called.

    Attributes:
      seed: the last argument of both functions, that of the configuration.
    """

    def __init__(self, model: Model, config: Config, mesh: Mesh | None = None):
        """Compiles nothing; raises InputError if `model` cannot be trained on `mesh` as `config.train` says.

        Args:
          config: the run's configuration; only `seed`, `train` and, in messages, `model` are read.
          mesh: the devices that a batch is divided over; by default the first device.
        """
        train, of = config.train, config.train.flops_of
        advice = "load the configuration by its name, with diffenc_jax.load_config"
        require(of is None, f"train.flops_of={of} leaves train.steps open; {advice}")
        learned = f"model.schedule.kind={config.model.schedule.kind} at infinite depth"
        why = "whose training lowers the variance of the loss itself"
        suits = train.time_sampling == "uniform" or not learns_interior(model)
        require(suits, f"train.time_sampling=importance is not for {learned}, {why}; take uniform")
        self.model, self.config, self.seed = model, config, np.uint32(config.seed)
        self.mesh = mesh or sharding.make_mesh(devices=jax.devices()[:1])
        size, count = f"train.batch_size={train.batch_size}", f"train.accumulate={train.accumulate}"
        self._advice = f"lower {size}, raise {count}, or take model.remat=block"
        sharding.check_batch(self.mesh, train.batch_size, "train.batch_size", train.accumulate)
        self.augmentation = make_augmentation(train.augmentations, model.spec.shape)
        self._stays_finite = getattr(parts.load("optimizer", train.optimizer.kind), "stays_finite", False)
        outside = outside_parts(config, "optimizer")
        with parts.trying(outside):
            self.optimizer = make_optimizer(train, partial(decayed, interior=model.schedule.interior), self.mesh)
            if outside:
                self._check_shapes()

    def _check_shapes(self) -> None:
        """Raise ValueError if a step changes the shapes of its state."""
        stepped, _ = jax.eval_shape(self.train_step, self.state, self.batch, self.seed)
        same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), self.state, stepped)
        if not all(jax.tree.leaves(same)):
            raise ValueError("a step changes shapes or dtypes of its state")

    def init(self, seed: Seed) -> TrainState:
        """The state before the first step."""
        params = self.model.init(stream(seed, "params"))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            ema=jax.tree.map(jnp.copy, params),
            opt_state=self.optimizer.init(params),
            meter=meter_type(self.model.head_losses).empty(),
            losses=LossHistory.empty() if self.config.train.time_sampling == "importance" else None,
        )

    def inputs(self, seed: Seed, step: jax.Array, batch: Batch, losses: LossHistory | None) -> StepInputs:
        """The random inputs of a step on a batch.

        The images are transformed as `train.augment` says, anew at each step. The batch holds the flags of the
        transformations if the model is conditioned on them.

        The times are spread evenly over the batch, by the density of `losses` or, if it is None, uniformly. The
        end-point terms are evaluated on one image in `train.endpoint_interval`, and at each step on other images. If
        this number does not divide the batch, they are evaluated on more images. They are about 0.5 % of the bound.
        """
        train, size = self.config.train, len(batch.data)
        names = "time", "noise", "dropout"
        time_key, noise_key, dropout_key = (at_step(seed, name, step) for name in names)
        s = antithetic(uniform(time_key), size)
        t, weight = (s, jnp.ones_like(s)) if losses is None else by_density(losses.mass(), s)
        k = math.gcd(train.endpoint_interval, size // train.accumulate)
        noise = self.model.draw_noise(noise_key, t, size // k)
        if self.augmentation.kinds:
            choice = self.augmentation.draw(at_step(seed, "augmentation", step), size)
            flags = self.augmentation.flags(choice) if self.model.augmentation_flags else None
            batch = batch._replace(data=self.augmentation.apply(batch.data, choice), augmentation=flags)
        return StepInputs(batch, noise, weight, dropout_key, every_kth(batch, k, first=step % k))

    def train_step(self, state: TrainState, batch: Batch, seed: Seed) -> tuple[TrainState, StepReport]:
        """One step on a global batch, which minimises bits/dim.

        The losses of additional heads are minimised too, only by the heads' own parameters: other parameters have no
        gradient from them. A step whose loss, gradient or updated state is not finite is left out of the metrics. With
        `train.on_nonfinite` = 'skip' it changes nothing else but the number of the step.
        """
        train = self.config.train
        with jax.named_scope("noise"):
            inputs = self.inputs(seed, state.step, batch, state.losses)
        params = sharding.gathered(self.mesh, state.params)
        if train.accumulate == 1:
            outputs, grads = gradient(self.model, params, inputs)
        else:
            parts = inputs.split(train.accumulate, self.mesh.size)
            outputs, grads = accumulated_gradient(self.model, params, parts)
        grads = sharding.scattered(self.mesh, grads, self.model.score.compute.scan)
        grad_norm = global_norm(grads)
        with jax.named_scope("optimizer"):
            if train.gradient_clip_norm is not None:
                scale = jnp.minimum(1.0, train.gradient_clip_norm / grad_norm)
                grads = jax.tree.map(lambda grad: grad * scale, grads)
            before = with_rates_at(state.opt_state, state.step)
            updates, opt_state = self.optimizer.update(grads, before, state.params)
            params = optax.apply_updates(state.params, updates)
            ema = optax.incremental_update(params, state.ema, 1.0 - ema_decay(train, state.step))
        finite = jnp.isfinite(outputs.objective) & jnp.isfinite(grad_norm)
        if not self._stays_finite:
            finite &= jnp.isfinite(global_norm(params)) & ~holds_nan(opt_state)
        metrics = metrics_of_step(outputs, self.model.spec.dims, grad_norm, counts=finite)
        stepped = TrainState(
            step=state.step + 1,
            params=params,
            ema=ema,
            opt_state=opt_state,
            meter=state.meter.merge(metrics),
            losses=None if state.losses is None else state.losses.plus(outputs.t, outputs.terms.diffusion),
        )
        if train.on_nonfinite == "skip":
            kept = jax.tree.map(partial(jnp.where, finite), stepped, state)
            stepped = kept.replace(step=stepped.step)
        return stepped, StepReport(finite, stepped.meter)

    @cached_property
    def state(self) -> TrainState:
        """ShapeDtypeStructs of a state, with their shardings."""
        shapes = jax.eval_shape(self.init, self.seed)
        return sharding.abstract_arrays(shapes, sharding.state_shardings(self.mesh, shapes))

    @cached_property
    def batch(self) -> Batch:
        """ShapeDtypeStructs of a batch, with their shardings."""
        shapes, batched = self.model.batch_shapes(self.config.train.batch_size), sharding.batched(self.mesh)
        return sharding.abstract_arrays(shapes, jax.tree.map(lambda _: batched, shapes))

    @cached_property
    def step(self) -> Any:
        """`train_step`, jitted for the mesh; it reuses the buffers of its state."""
        state, whole = self._shardings, sharding.replicated(self.mesh)
        return jax.jit(
            self.train_step,
            in_shardings=(state, sharding.batched(self.mesh), whole),
            out_shardings=(state, whole),
            donate_argnums=0,
            compiler_options=runtime.CPU_OPTIONS if self.mesh.devices.flat[0].platform == "cpu" else None,
        )

    def start(self) -> TrainState:
        """The state before the first step, on the mesh."""
        return jax.jit(self.init, out_shardings=self._shardings)(self.seed)

    @property
    def _shardings(self) -> TrainState:
        return jax.tree.map(lambda leaf: leaf.sharding, self.state)

    def compiled(self) -> jax.stages.Compiled:
        """Compile `step`, and return the compiler's memory to the system.

        Raises RunError if a device has too little memory for it.
        """
        with self.within_memory():
            program = self.step.lower(self.state, self.batch, self.seed).compile()
        runtime.return_freed_memory()
        memory.check_fits(program, STEP, self._advice)
        return program

    def within_memory(self) -> AbstractContextManager[None]:
        """Context for calls of `start` and a compiled step: an error that they are out of memory becomes a RunError."""
        return memory.within_memory(STEP, self._advice)


def decayed(params: Params, interior: Sequence[str] = ()) -> Params:
    """Whether weight decay applies to a parameter, for each of `params` (arXiv 2107.00630, 2310.19789).

    It does not apply to biases, the end points of a learned schedule and learned variance ratios.

    Args:
      interior: names of the schedule's parameters that do not move its end points; see `Schedule.interior`.
    """

    def decays(path: tuple[jax.tree_util.DictKey, ...], _: jax.Array) -> bool:
        names = [key.key for key in path]
        exempt = names[0] == "ratio" or (names[0] == "schedule" and names[1] not in interior)
        return names[-1] != "bias" and not exempt

    return jax.tree_util.tree_map_with_path(decays, params)


def global_norm(tree: Params) -> jax.Array:
    """Global norm [] of a tree of arrays.

    Leaves that are never sharded are joined into one first, because XLA compiles the sum of each array separately: a
    step of configs/digits.py compiles in 0.87 to 0.92 of the CPU time that it takes with `optax.tree.norm`.
    """
    leaves = jax.tree.leaves(tree)
    small = [x.ravel() for x in leaves if x.size < sharding.MIN_SHARDED_SIZE]
    parts = [jnp.concatenate(small), *(x for x in leaves if x.size >= sharding.MIN_SHARDED_SIZE)]
    squares = [jnp.tensordot(x, x, x.ndim, precision=jax.lax.Precision.HIGHEST) for x in parts]
    return jnp.sqrt(sum(squares))


def holds_nan(tree: Any) -> jax.Array:
    """bool [], whether an array of a tree holds NaN. An optimizer may hold infinities, such as a best loss so far."""
    found = [jnp.isnan(leaf).any() for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([*found, jnp.zeros((), bool)]).any()

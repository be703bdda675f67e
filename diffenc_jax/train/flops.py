"""FLOPs of a training step, from shapes only, and configurations whose length of training follows from FLOPs."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import jax

from diffenc_jax.config import Config, load
from diffenc_jax.core.errors import refusing, require
from diffenc_jax.data.sources import spec_of
from diffenc_jax.model import DataSpec, build
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.program import TrainingProgram

FLOPS_OF = "train.flops_of"


class Counts(NamedTuple):
    """Counts that are the same wherever a configuration runs.

    Attributes:
      params: number of parameters by part: 'score', 'schedule', and 'encoder' and 'ratio' where they exist.
      flops_per_step: floating-point operations of one training step on a whole batch.
    """

    params: dict[str, int]
    flops_per_step: float

    @property
    def total_params(self) -> int:
        return sum(self.params.values())


def count(config: Config, spec: DataSpec | None = None) -> Counts:
    """Counts of a model of a kind of data. Nothing is compiled, and a named data set need not be on this machine.

    The FLOPs come from XLA's cost analysis of the step as written: loss, gradient, optimizer, moving average and meter.
    A multiply-add counts as two. The analysis counts the body of a loop once, so layers are unrolled, without
    rematerialisation and dropout, and the count does not depend on `model.scan`, `model.remat` and dropout. The program
    is the one for accelerators, without the loops of CPUs, so the count is the same on every platform.

    Raises InputError if `config` has no model for such data, or cannot be trained, or if JAX may not use the CPU.

    Args:
      spec: the kind of the data; None: that of `config.data`.
    """
    changes: dict[str, Any] = {"model.scan": False, "model.remat": "none", FLOPS_OF: None}
    for name in ("score", "encoder"):
        if "dropout" in getattr(config.model, name).options:
            changes[f"model.{name}.dropout"] = 0.0
    config = config.replace(changes)
    with refusing("FLOPs are counted on the CPU", "add cpu to JAX_PLATFORMS"):
        cpu = jax.local_devices(backend="cpu")[0]
    program = TrainingProgram(build(config, spec or spec_of(config), "tpu"), config, make_mesh(devices=[cpu]))
    state, batch = jax.eval_shape(program.init, program.seed), program.model.batch_shapes(config.train.batch_size)
    with jax.default_device(cpu):
        traced = jax.jit(program.train_step).trace(state, batch, program.seed)
        flops = traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]
    params = {part: sum(leaf.size for leaf in jax.tree.leaves(tree)) for part, tree in state.params.items()}
    return Counts(params, flops)


def load_config(spec: str, changes: load.Changes = ()) -> Config:
    """The configuration of a run, with `train.steps` counted if `train.flops_of` names an arm.

    The run then has, to half a step, the FLOPs of the training of that arm under the same changes. A given
    `train.steps` is the length of the arm's training. The result no longer names the arm. Counting takes seconds.

    Raises InputError if there is no such configuration, or the FLOPs cannot be counted; see `count`.

    Args:
      spec: name or path of a configuration with its arm, such as "digits:vdm".
      changes: other values by key, {"train.batch_size": 64}, or in texts, ["train.batch_size=64"].
    """
    config = load.load_config(spec, changes)
    arm = config.train.flops_of
    if arm is None:
        return config
    if isinstance(changes, Mapping):
        changes = {key: value for key, value in changes.items() if key != FLOPS_OF}
    else:
        changes = [change for change in changes if change.partition("=")[0] != FLOPS_OF]
    reference = load.load_config(f"{spec.partition(':')[0]}:{arm}", changes)
    other, must = reference.train.flops_of, f"{FLOPS_OF}={arm} must name an arm with a length of its own"
    require(other is None, f"{must}, and {arm} has the length of {other}")
    return with_flops_of(config, reference)


def with_flops_of(config: Config, reference: Config) -> Config:
    """`config` with as many steps as give it, to half a step, the FLOPs of the training `reference`."""
    steps = reference.train.steps * _flops_per_step(reference) / _flops_per_step(config)
    return config.replace({"train.steps": max(1, round(steps)), FLOPS_OF: None})


def _flops_per_step(config: Config) -> float:
    # Configurations that differ only in these keys share a count.
    same = {"arm": "", "seed": 0, "eval.seed": 0, "train.steps": 1, "train.warmup_steps": 0}
    return _counted(config.replace(same)).flops_per_step


_counted = cache(count)

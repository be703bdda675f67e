"""What a training step costs: parameters and FLOPs from shapes alone, memory and time on this machine."""

import copy
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from diffenc_jax import environment
from diffenc_jax import workdir as workdirs
from diffenc_jax.config import check_sections, config_hash, with_changes
from diffenc_jax.data.dataset import load
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train import sharding
from diffenc_jax.train.batches import needed
from diffenc_jax.train.compiled import Memory
from diffenc_jax.train.loop import Trainer
from diffenc_jax.train.step import init_and_step

# The first steps still fill caches and, on accelerators, grow the memory pool.
WARM_UP_STEPS = 3


class Counts(NamedTuple):
    """What is the same wherever a configuration runs.

    Attributes:
      params: number of parameters by part: 'score', 'schedule', and 'encoder' and 'ratio' where there is one.
      flops_per_step: floating-point operations of one training step on a whole batch.
    """

    params: dict[str, int]
    flops_per_step: float

    @property
    def total_params(self) -> int:
        return sum(self.params.values())


def count(config: ConfigDict, spec: ImageSpec) -> Counts:
    """Counts for images of `spec`; nothing is compiled, and no images are needed.

    The FLOPs are what XLA's cost analysis finds in the step as it is written, two for a multiply-add: loss,
    gradient, optimizer, moving average and meter. It counts a loop's body once, so the layers are unrolled, and
    nothing is recomputed or dropped, for which random bits are made: these are the model's FLOPs, whatever
    `model.scan`, `model.remat` and dropout are. The program is that of accelerators, so that the number is the same on
    every platform, and a CPU's loops are not in it.

    Raises:
      InputError: `config` makes no model for such images, or cannot be trained.
    """
    config = with_changes(copy.deepcopy(config), {"model.scan": False, "model.remat": "none"})
    for network in (config.model.score, config.model.encoder):
        if "dropout" in network:
            network.dropout = 0.0
    init, step = init_and_step(build(config, spec), config)
    state = jax.eval_shape(init)
    pixels = jax.ShapeDtypeStruct((config.train.batch_size, *spec.shape), np.uint8)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        flops = jax.jit(step).trace(state, pixels).lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]
    params = {part: sum(leaf.size for leaf in jax.tree.leaves(tree)) for part, tree in state.params.items()}
    return Counts(params, flops)


def measure(config: ConfigDict, timed_steps: int = 20) -> dict[str, Any]:
    """What training as `config` says costs, on all devices of this machine; JSON's values.

    Returns:
      What was measured (`config`, `arm`, `config_hash`, `dtype`, `batch_size`, `steps` of the whole training), where
      (`device`, `software`), and
      params, params_by_part: numbers of parameters.
      flops_per_step, train_flops: of a step, see `count`, and of all steps.
      memory_per_step: bytes a device that the compiled step needs, with `model.scan` and `model.remat` as they are;
        the sum of memory_of_state (the state and the batch) and memory_of_temporaries.
      seconds_per_step, seconds_per_step_quartiles: median and [lower, upper] of `timed_steps` steps, each waited for,
        on training images that lie on the devices already.
      compile_seconds: tracing included.

    Raises:
      InputError: `config` cannot be trained, see `Trainer`, or its data cannot be had.
    """
    check_sections(config)
    mesh = sharding.make_mesh(config.mesh.fsdp)
    dataset = load(config, *dict.fromkeys(("train", config.eval.split)), part=needed(config, mesh))
    spec = ImageSpec(dataset.shape, dataset.levels)
    trainer = Trainer(build(config, spec), config, dataset, mesh, workdirs.default_workdir(config))
    counts = count(config, spec)
    start = time.perf_counter()
    step = trainer.program.compiled()
    compile_seconds, memory = time.perf_counter() - start, Memory.of(step)
    lower, median, upper = np.quantile(_seconds(trainer, step, timed_steps), (0.25, 0.5, 0.75)).tolist()
    return {
        "config": config.name,
        "arm": config.arm,
        "config_hash": config_hash(config),
        "dtype": config.model.dtype,
        "batch_size": config.train.batch_size,
        "steps": config.train.steps,
        "params": counts.total_params,
        "params_by_part": counts.params,
        "flops_per_step": counts.flops_per_step,
        "train_flops": counts.flops_per_step * config.train.steps,
        "memory_per_step": memory.total,
        "memory_of_state": memory.state,
        "memory_of_temporaries": memory.temporaries,
        "seconds_per_step": median,
        "seconds_per_step_quartiles": [lower, upper],
        "timed_steps": timed_steps,
        "compile_seconds": compile_seconds,
        "device": environment.device(),
        "software": environment.software(),
    }


def _seconds(trainer: Trainer, step: jax.stages.Compiled, timed_steps: int) -> list[float]:
    """Of each of the steps after `WARM_UP_STEPS`."""
    state, seconds = trainer.program.init(), []
    for index in range(WARM_UP_STEPS + timed_steps):
        pixels = jax.block_until_ready(trainer.batch(index))
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, pixels))
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP_STEPS:]

"""A training step compiled for devices that need not be present."""

import time
from typing import Any

import jax
from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError, first_line
from diffenc_jax.lab.costs.machines import lowering
from diffenc_jax.model import build, spec_of
from diffenc_jax.parallel.memory import Memory, is_out_of_memory, needed_bytes
from diffenc_jax.train.step import Program

# Option of XLA's TPU compiler that leaves out its search for the fastest kernels.
QUICK: dict[str, Any] = {"exec_time_optimization_effort": -1.0}


class DoesNotFit(Exception):
    """A program needs more memory than the devices have: `needed` bytes per device, None if that is unknown."""

    def __init__(self, needed: int | None):
        super().__init__(needed)
        self.needed = needed


def compile_step(config: Config, mesh: Mesh, quick: bool = False) -> tuple[Memory, jax.stages.Compiled, float]:
    """The training step of `config` with its memory, and the seconds to compile it.

    The devices of `mesh` need not be present, nor need the images. Raises InputError if `config` cannot be trained on
    these devices, and DoesNotFit.
    """
    platform = mesh.devices.flat[0].platform
    program = Program(build(config, spec_of(config), "gpu" if platform == "cuda" else platform), config, mesh)
    start = time.perf_counter()
    try:
        with lowering(mesh):  # the partitioner lowers kernels anew
            compiled = program.step.lower(program.state, program.batch).compile(QUICK if quick else None)
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise InputError(f"the compiler failed: {first_line(error)}") from error
        raise DoesNotFit(needed_bytes(error)) from error
    return Memory.of(compiled), compiled, time.perf_counter() - start

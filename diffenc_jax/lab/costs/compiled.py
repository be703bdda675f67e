"""A training step compiled for devices that need not be present: its memory, FLOPs, bytes and time to compile."""

import time
from collections import Counter
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError, first_line
from diffenc_jax.lab.costs import hlo
from diffenc_jax.lab.costs.machines import lowering
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.parallel.memory import Memory, is_out_of_memory, needed_bytes
from diffenc_jax.train.flops import count
from diffenc_jax.train.step import Program

# Option of XLA's TPU compiler that leaves out its search for the fastest kernels.
QUICK: dict[str, Any] = {"exec_time_optimization_effort": -1.0}


class Work(NamedTuple):
    """Costs of a step, per device.

    Attributes:
      flops: floating-point operations of the model, as `train.flops` counts them.
      counts: numbers by ('parts' or 'kinds', name, quantity): of 'kernels', of 'bytes' that they move in the device's
        memory, of 'cycles' by the compiler's estimates, and of bytes 'sent' to other devices, and of these
        '..._backward'; each by part of the step and by kind of kernel, see `hlo`.
    """

    flops: float
    counts: Counter[tuple[str, str, str]]

    @classmethod
    def of(cls, compiled: jax.stages.Compiled, flops: float) -> "Work":
        """Work of a compiled step."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for kernel in hlo.kernels(compiled.as_text() or ""):
            each_run = {"kernels": 1, "bytes": kernel.moved, "cycles": kernel.cycles, "sent": kernel.sent}
            for group, name in (("parts", kernel.part), ("kinds", kernel.kind)):
                for quantity, each in each_run.items():
                    counts[group, name, quantity] += kernel.runs * each
                    counts[group, name, f"{quantity}_backward"] += kernel.runs * each * kernel.is_backward
        return cls(flops, counts)

    def total(self, quantity: str) -> float:
        """Sum of the counts of a quantity."""
        return sum(number for key, number in self.counts.items() if key[::2] == ("parts", quantity))


class DoesNotFit(Exception):
    """A program needs more memory than the devices have: `needed` bytes per device, None if that is unknown."""

    def __init__(self, needed: int | None):
        super().__init__(needed)
        self.needed = needed


def compile_step(config: Config, spec: ImageSpec, mesh: Mesh, quick: bool = False) -> tuple[Memory, Work, float]:
    """Memory and work of the training step of `config`, for images of `spec`, and the seconds to compile it.

    The devices of `mesh` need not be present. Raises InputError if `config` cannot be trained on them with such images,
    and DoesNotFit.
    """
    platform = mesh.devices.flat[0].platform
    program = Program(build(config, spec, "gpu" if platform == "cuda" else platform), config, mesh)
    start = time.perf_counter()
    try:
        with lowering(mesh):  # the partitioner lowers kernels anew
            compiled = program.step.lower(program.state, program.batch).compile(QUICK if quick else None)
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise InputError(f"the compiler failed: {first_line(error)}") from error
        raise DoesNotFit(needed_bytes(error)) from error
    seconds = time.perf_counter() - start
    return Memory.of(compiled), Work.of(compiled, count(config, spec).flops_per_step / mesh.size), seconds

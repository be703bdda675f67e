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
from diffenc_jax.model.build import alike_layers, with_alike_layers
from diffenc_jax.parallel.memory import Memory, is_out_of_memory, needed_bytes
from diffenc_jax.train.flops import count
from diffenc_jax.train.step import Program

# Option of XLA's TPU compiler that leaves out its search for the fastest kernels.
QUICK: dict[str, Any] = {"exec_time_optimization_effort": -1.0}


class Work(NamedTuple):
    """Costs of a step, per device.

    Attributes:
      flops: floating-point operations.
      accessed: bytes that operations read and write, in any memory.
      counts: numbers by ('parts' or 'kinds', name, quantity): of 'kernels', of 'bytes' that they move in the device's
        memory, and of 'cycles' by the compiler's estimates, and of these '..._backward'; each by part of the step and
        by kind of kernel, see `hlo`.
    """

    flops: float
    accessed: float
    counts: Counter[tuple[str, str, str]]

    @classmethod
    def of(cls, compiled: jax.stages.Compiled, flops: float = 0.0) -> "Work":
        """Work of a compiled step; `flops` are given where the compiler does not count them, as on GPUs."""
        analysis: Any = compiled.cost_analysis() or {}
        counts: Counter[tuple[str, str, str]] = Counter()
        for kernel in hlo.kernels(compiled.as_text() or ""):
            for group, name in (("parts", kernel.part), ("kinds", kernel.kind)):
                for quantity, each in (("kernels", 1), ("bytes", kernel.moved), ("cycles", kernel.cycles)):
                    counts[group, name, quantity] += kernel.runs * each
                    counts[group, name, f"{quantity}_backward"] += kernel.runs * each * kernel.is_backward
        moved = cls(0.0, 0.0, counts).total("bytes")
        return cls(analysis.get("flops", flops), analysis.get("bytes accessed", moved), counts)

    def total(self, quantity: str) -> float:
        """Sum of the counts of a quantity."""
        return sum(number for key, number in self.counts.items() if key[::2] == ("parts", quantity))

    def extrapolated(self, longer: "Work", times: int) -> "Work":
        """This work and, `times` times, what `longer` has more."""
        keys = self.counts.keys() | longer.counts.keys()
        counts = {key: self.counts[key] + times * (longer.counts[key] - self.counts[key]) for key in keys}
        flops, accessed = (a + times * (b - a) for a, b in zip(self[:2], longer[:2], strict=True))
        return Work(flops, accessed, Counter(counts))


class DoesNotFit(Exception):
    """A program needs more memory than the devices have: `needed` bytes per device, None if that is unknown."""

    def __init__(self, needed: int | None):
        super().__init__(needed)
        self.needed = needed


class Compiler:
    """Compiles the training step of `config`, for images of `spec`, for a mesh of devices, which need not be present.

    Raises InputError if `config` cannot be trained on `mesh` with such images.
    """

    def __init__(self, config: Config, spec: ImageSpec, mesh: Mesh, quick: bool):
        self._config, self._spec, self._mesh, self._options = config, spec, mesh, QUICK if quick else None
        platform = mesh.devices.flat[0].platform
        self._platform = "gpu" if platform == "cuda" else platform

    def memory(self) -> tuple[Memory, float]:
        """Memory of the step as it runs, and the seconds to compile it; raises DoesNotFit."""
        self._compiled, seconds = self._compile(self._config)
        return Memory.of(self._compiled), seconds

    def work(self) -> tuple[Work, float]:
        """Work of the step, once `memory` has compiled it, and the seconds to compile what else it is counted from.

        On GPUs it is that of the step as it runs. XLA's TPU compiler has the body of a loop count once, so layers are
        unrolled. Many take long to compile, but every two further layers of the score network cost the same, even where
        skip connections join them. The work of more than four layers therefore follows from that of one and three, or
        of two and four.
        """
        if self._platform == "gpu":
            return Work.of(self._compiled, count(self._config, self._spec).flops_per_step / self._mesh.size), 0.0
        layers = alike_layers(self._config)
        if layers <= 4:
            return self.unrolled_work(self._config)
        few = 2 - layers % 2
        short, seconds = self.unrolled_work(with_alike_layers(self._config, few))
        longer, more_seconds = self.unrolled_work(with_alike_layers(self._config, few + 2))
        return short.extrapolated(longer, (layers - few) // 2), seconds + more_seconds

    def unrolled_work(self, config: Config) -> tuple[Work, float]:
        """Work of the step of `config` with every layer compiled."""
        compiled, seconds = self._compile(config.replace({"model.scan": False}))
        return Work.of(compiled), seconds

    def _compile(self, config: Config) -> tuple[jax.stages.Compiled, float]:
        program = Program(build(config, self._spec, self._platform), config, self._mesh)
        start = time.perf_counter()
        try:
            with lowering(self._mesh):  # the partitioner lowers kernels anew
                compiled = program.step.lower(program.state, program.batch).compile(self._options)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise InputError(f"the compiler failed: {first_line(error)}") from error
            raise DoesNotFit(needed_bytes(error)) from error
        return compiled, time.perf_counter() - start

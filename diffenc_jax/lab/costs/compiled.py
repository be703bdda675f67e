"""A training step compiled for devices that need not be present: its memory, FLOPs, bytes and time to compile."""

import re
import time
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError, first_line
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.model.build import alike_layers, with_alike_layers
from diffenc_jax.parallel.memory import Memory, is_out_of_memory, needed_bytes
from diffenc_jax.train.step import Program

# Option of XLA that leaves out its search for the fastest kernels.
QUICK: dict[str, Any] = {"exec_time_optimization_effort": -1.0}


class Work(NamedTuple):
    """Costs of a step, per device.

    Attributes:
      accessed: bytes that operations read and write, in any memory, by XLA's count.
      cycles: the compiler's estimates for all operations, added up; 0 if the program's text has none.
    """

    flops: float
    accessed: float
    cycles: float

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> "Work":
        """Work of a compiled step."""
        analysis, text = compiled.cost_analysis() or {}, compiled.as_text() or ""
        cycles = re.findall(r'"estimated_cycles":"(\d+)"', text.partition("\nENTRY ")[2])
        return cls(analysis["flops"], analysis["bytes accessed"], sum(map(int, cycles)))


class DoesNotFit(Exception):
    """A program needs more memory than the devices have: `needed` bytes per device, None if that is unknown."""

    def __init__(self, needed: int | None):
        super().__init__(needed)
        self.needed = needed


class Compiler:
    """Compiles the training step of `config` for a mesh of devices of `platform`, which need not be present."""

    def __init__(self, config: Config, spec: ImageSpec, mesh: Mesh, platform: str, quick: bool):
        """Raises InputError if `config` cannot be trained on `mesh` with images of `spec`."""
        self._config, self._spec, self._mesh = config, spec, mesh
        self._platform, self._options = platform, QUICK if quick else None
        self._step = self._program(config)

    def memory(self) -> tuple[Memory, float]:
        """Memory of the step as it runs, and the seconds to compile it; raises DoesNotFit."""
        compiled, seconds = self._compile(self._step)
        return Memory.of(compiled), seconds

    def work(self) -> tuple[Work, float]:
        """Work of the step, and the seconds to compile what it is counted from.

        Many layers take long to compile, but every two further layers of the score network cost the same, even where
        skip connections join them. The work of more than four layers therefore follows from that of one and three, or
        of two and four.
        """
        layers = alike_layers(self._config)
        if layers <= 4:
            return self.unrolled_work(self._config)
        few = 2 - layers % 2
        short, seconds = self.unrolled_work(with_alike_layers(self._config, few))
        longer, more_seconds = self.unrolled_work(with_alike_layers(self._config, few + 2))
        pairs = (layers - few) // 2
        return Work(*(a + pairs * (b - a) for a, b in zip(short, longer, strict=True))), seconds + more_seconds

    def unrolled_work(self, config: Config) -> tuple[Work, float]:
        """Work of the step of `config` with every layer compiled, since the body of a loop would count once."""
        compiled, seconds = self._compile(self._program(config.replace({"model.scan": False})))
        return Work.of(compiled), seconds

    def _program(self, config: Config) -> Program:
        return Program(build(config, self._spec, self._platform), config, self._mesh)

    def _compile(self, program: Program) -> tuple[jax.stages.Compiled, float]:
        start = time.perf_counter()
        try:
            compiled = program.step.lower(program.state, program.batch).compile(self._options)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise InputError(f"the compiler failed: {first_line(error)}") from error
            raise DoesNotFit(needed_bytes(error)) from error
        return compiled, time.perf_counter() - start

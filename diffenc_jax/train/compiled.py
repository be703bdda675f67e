"""A training step as the compiler of a machine that is not here sees it: memory, FLOPs, bytes and time to compile."""

import copy
import re
import time
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax.config import IDENTITY, with_changes
from diffenc_jax.errors import InputError, first_line
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.step import Program, make_program

# What XLA is told to leave out its search for the fastest kernels.
QUICK = {"exec_time_optimization_effort": -1.0}
# How its TPU compiler says that a program does not fit, and how much it needs.
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
NEEDED = re.compile(r"(?:temporaries \(|Used )([0-9.]+)([KMGT]?)")
WITHOUT_ENCODER = {"model.encoder": IDENTITY, "model.derivative_head": False}
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Memory(NamedTuple):
    """Bytes a device: `state`, with the batch, and `temporaries`."""

    state: int
    temporaries: int

    @property
    def total(self) -> int:
        return self.state + self.temporaries

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> "Memory":
        """What is aliased, the donated state, is counted among the arguments alone."""
        analysis = compiled.memory_analysis()
        state = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
        return cls(state, analysis.temp_size_in_bytes)


class Work(NamedTuple):
    """FLOPs, and bytes read and written, of a step and device."""

    flops: float
    bytes: float

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> "Work":
        analysis = compiled.cost_analysis()
        return cls(analysis["flops"], analysis["bytes accessed"])

    def with_layers(self, more: int, one: "Work", two: "Work") -> "Work":
        """With so many layers more, of which each adds what `two` of them have over `one`."""
        return Work(*(all_ + more * (b - a) for all_, a, b in zip(self, one, two, strict=True)))


class DoesNotFit(Exception):
    """A program needs more memory than there is.

    Attributes:
      needed: bytes a device, or None where the compiler does not say.
    """

    def __init__(self, needed: int | None):
        super().__init__(needed)
        self.needed = needed


class Compiler:
    """Compiles the training step of `config` for a mesh of `platform`, of which no device need be at hand."""

    def __init__(self, config: ConfigDict, shape: tuple[int, int, int], mesh: Mesh, platform: str, quick: bool):
        """Raises InputError where `config` cannot be trained on `mesh`, on images of `shape`."""
        self._config, self._spec, self._mesh = config, ImageSpec(shape, config.data.levels), mesh
        self._platform, self._options = platform, QUICK if quick else None
        self._whole = self._program({})

    def memory(self) -> tuple[Memory, float]:
        """Of the step as it runs, and the seconds that it took to compile; raises DoesNotFit."""
        compiled, seconds = self._compile(self._whole)
        return Memory.of(compiled), seconds

    def work(self) -> tuple[Work, float]:
        """Of the step, and the seconds that it took to compile.

        A loop's body is counted once, so layers are unrolled. Those of the score network are alike, whatever the
        encoder, and compiling many takes long: of more than two, one is compiled, and what others add is read off
        two layers and one without an encoder.
        """
        layers = self._config.model.score.layers
        if layers <= 2:
            return self._unrolled({})
        one, first = self._unrolled({"model.score.layers": 1, **WITHOUT_ENCODER})
        two, second = self._unrolled({"model.score.layers": 2, **WITHOUT_ENCODER})
        whole, third = one, 0.0
        if self._config.model.encoder != IDENTITY:
            whole, third = self._unrolled({"model.score.layers": 1})
        return whole.with_layers(layers - 1, one, two), first + second + third

    def _unrolled(self, changes: dict[str, Any]) -> tuple[Work, float]:
        compiled, seconds = self._compile(self._program({"model.scan": False, **changes}))
        return Work.of(compiled), seconds

    def _program(self, changes: dict[str, Any]) -> Program:
        config = with_changes(copy.deepcopy(self._config), changes)
        return make_program(build(config, self._spec, self._platform), config, self._mesh)

    def _compile(self, program: Program) -> tuple[jax.stages.Compiled, float]:
        start = time.perf_counter()
        try:
            compiled = program.step.lower(program.state, program.pixels).compile(self._options)
        except jax.errors.JaxRuntimeError as error:
            if OUT_OF_MEMORY not in str(error):
                raise InputError(f"the compiler failed: {first_line(error)}") from error
            found = NEEDED.search(str(error))
            raise DoesNotFit(int(float(found[1]) * UNITS[found[2]]) if found else None) from error
        return compiled, time.perf_counter() - start

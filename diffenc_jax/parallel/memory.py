"""Memory of compiled programs and of devices, and errors about programs that need more than there is."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax

from diffenc_jax.core.errors import RunError
from diffenc_jax.core.numbers import format_bytes
from diffenc_jax.core.runtime import machine_memory

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
# Memory in XLA's messages: of a whole program (TPU), or of the allocation that failed (CPU, GPU).
_SIZE = re.compile(r"(?:temporaries \(|Used |allocat(?:e|ing) )([0-9.]+) ?([KMGT]?)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Memory(NamedTuple):
    """Bytes per device: `state`, which includes the batch, and `temporaries`."""

    state: int
    temporaries: int

    @property
    def total(self) -> int:
        return self.state + self.temporaries

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> "Memory":
        """Memory of a compiled step. The donated state is aliased and counted once, among the arguments."""
        analysis: Any = compiled.memory_analysis()
        state = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
        return cls(state, analysis.temp_size_in_bytes)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a program failed because it needs more memory than there is."""
    return isinstance(error, jax.errors.JaxRuntimeError) and OUT_OF_MEMORY in str(error)


def needed_bytes(error: Exception) -> int | None:
    """Bytes that an error of `is_out_of_memory` names; None if it names none."""
    match = _SIZE.search(str(error))
    return int(float(match[1]) * _UNITS[match[2]]) if match else None


def device_memory() -> int | None:
    """Bytes of memory of one device of this host, or of the machine if the device is a CPU; None if unknown."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return machine_memory()
    return (device.memory_stats() or {}).get("bytes_limit")


def does_not_fit(what: str, needed: int | None, advice: str) -> RunError:
    """RunError that `what` needs at least `needed` bytes per device; it states the available memory and `advice`."""
    available = device_memory()
    needs = "more memory than is available" if needed is None else f"at least {format_bytes(needed)}"
    has = "" if available is None else f", and {format_bytes(available)} are available"
    return RunError(f"out of memory: {what} needs {needs}{has}; {advice}")


def check_fits(compiled: jax.stages.Compiled, what: str, advice: str) -> None:
    """Raise RunError, see `does_not_fit`, if a compiled program needs more memory than a device has."""
    available = device_memory()
    if available is None or compiled.memory_analysis() is None:  # not all platforms know
        return
    needed = Memory.of(compiled).total
    if needed > available:
        raise does_not_fit(what, needed, advice)


@contextmanager
def within_memory(what: str, advice: str) -> Iterator[None]:
    """Turn an out-of-memory error of a program into one line; see `does_not_fit`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise does_not_fit(what, needed_bytes(error), advice) from error

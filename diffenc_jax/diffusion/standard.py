"""Standardisation of real numbers, by means and deviations that are kept with a run."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from diffenc_jax.core.errors import require

# Float32 holds this number and its reciprocal with all digits.
LARGEST = float(1 / np.finfo(np.float32).tiny)
# Rows that are held in float64 at once.
ROWS = 4096
AnyArray = TypeVar("AnyArray", bound=Any)


class Standard(NamedTuple):
    """x = (data - mean) / deviation, with one pair of numbers per entry of the last axis: a feature, or a channel.

    Attributes:
      mean, deviation: one number per entry of the last axis; one number serves all entries.
    """

    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)

    @staticmethod
    def of(data: Any) -> "Standard":
        """Means and standard deviations of data [N, ..., C]: an array, or an object with a shape and slices of rows."""

        def mean_of(value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
            sums = np.zeros(data.shape[-1])
            for start in range(0, data.shape[0], ROWS):
                rows = data[start : start + ROWS].astype(np.float64)
                sums += value(rows).reshape(-1, len(sums)).sum(axis=0)
            return sums / math.prod(data.shape[:-1])

        with np.errstate(over="ignore", invalid="ignore"):
            mean = mean_of(lambda rows: rows)
            variance = mean_of(lambda rows: np.square(rows - mean))
        return Standard(tuple(mean.tolist()), tuple(np.sqrt(variance).tolist()))

    def check(self, what: str, size: int, advice: str) -> None:
        """Raise InputError unless these are `size` means that float32 can hold and deviations that it can divide by.

        Args:
          what, advice: beginning and end of the message.
        """
        counts = len(self.mean), len(self.deviation)
        given = f"{what}: there are {counts[0]} means and {counts[1]} deviations for {size} features or channels"
        require(counts == (size, size), f"{given}; {advice}")
        for number, (mean, deviation) in enumerate(zip(*self, strict=True)):
            fits = abs(mean) <= LARGEST and 1 / LARGEST <= deviation <= LARGEST
            given = f"{what}: [..., {number}] has the mean {mean:g} and the deviation {deviation:g}"
            require(fits, f"{given}, which float32 cannot hold or divide by; {advice}")

    def apply(self, data: AnyArray) -> AnyArray:
        """x [..., C] of data, in the type of the data or wider."""
        return (data - np.asarray(self.mean)) / np.asarray(self.deviation)

    def single(self, data: np.ndarray) -> np.ndarray:
        """x in float32, computed in the type of the data; infinite where float32 cannot hold it."""
        with np.errstate(over="ignore"):
            return self.apply(data).astype(np.float32)

    def undo(self, x: AnyArray) -> AnyArray:
        """Data [..., C] of x."""
        return x * np.asarray(self.deviation) + np.asarray(self.mean)

    def log_volume(self, dims: int) -> float:
        """ln of the volume, in units of the data, of one unit of x in each of `dims` dimensions."""
        return dims / len(self.deviation) * sum(map(math.log, self.deviation))


UNCHANGED = Standard()

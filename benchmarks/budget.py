"""Measurements one after the other, as many as a given time allows."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from diffenc_jax.core.errors import InputError, RunError, first_line
from diffenc_jax.core.numbers import format_bytes
from diffenc_jax.parallel.memory import is_out_of_memory, needed_bytes

MEASURED, FAILED, LEFT_OUT = "measured", "failed", "left out"
Row = dict[str, Any]


class Measurement(NamedTuple):
    """A measurement that is yet to be made.

    Attributes:
      name: differs from the names of all others.
      kind: what is measured; measurements of one kind have the same values.
      expected: seconds that it takes on a recent accelerator; only the ratios between measurements matter.
      measure: () -> JSON values by name.
    """

    name: str
    kind: str
    expected: float
    measure: Callable[[], dict[str, Any]]

    def row(self, status: str, **values: Any) -> Row:
        """JSON values that describe the outcome: 'name', 'kind', 'status' and `values`."""
        return {"name": self.name, "kind": self.kind, "status": status, **values}


def within(
    seconds: float, measurements: Sequence[Measurement], clock: Callable[[], float] = time.perf_counter
) -> Iterator[Row]:
    """A row per measurement, in order, all within `seconds`.

    A measurement is left out if it is expected to end too late, by the time that those before it took. One that raises
    an exception has a row that says so.
    """
    start, took, expected = clock(), 0.0, 0.0
    for measurement in measurements:
        begin = clock()
        left = seconds - (begin - start)
        needed = measurement.expected * took / expected if expected else 0.0
        if needed >= left:
            reason = f"about {needed:.0f} s are needed, and {max(left, 0):.0f} s are left"
            yield measurement.row(LEFT_OUT, reason=reason, expected_seconds=needed)
            continue
        row = _outcome(measurement)
        row["seconds"] = clock() - begin
        if row["status"] == MEASURED:
            took, expected = took + row["seconds"], expected + measurement.expected
        yield row


def _outcome(measurement: Measurement) -> Row:
    try:
        return measurement.row(MEASURED, **measurement.measure())
    except Exception as error:  # noqa: BLE001  whatever fails, the other measurements go on
        row = measurement.row(FAILED, reason=_reason(error))
    gc.collect()  # frees arrays that the error's traceback held
    return row


def _reason(error: Exception) -> str:
    if isinstance(error, (InputError, RunError)):
        return str(error)
    if not is_out_of_memory(error):
        return f"{type(error).__name__}: {first_line(error)}"
    needed = needed_bytes(error)
    return "out of memory" + ("" if needed is None else f": {format_bytes(needed)} or more are needed")

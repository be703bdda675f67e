"""Timings of calls, and the largest memory so far."""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import jax

from diffenc_jax.studies.costs.measure import WARM_UP_STEPS


def call_seconds(call: Callable[[], Any], repeats: int, warm_up: int = WARM_UP_STEPS) -> list[float]:
    """Seconds of each of `repeats` calls, whose arrays are waited for, after `warm_up` others."""
    seconds = []
    for _ in range(warm_up + repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds[warm_up:]


def peak_bytes() -> int:
    """The largest memory so far: of the process on a CPU, otherwise of the first device."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics:
        return statistics["peak_bytes_in_use"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak

"""CPU time that other processes take while something is timed, which makes the measured times upper bounds."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SMALLEST = 0.05  # share of others that is worth a line
SHORTEST = 0.5  # seconds of CPU time; in less, the ticks of Linux's clocks are as large as that share


class CpuTimes(NamedTuple):
    """Seconds of CPU time since some start.

    Attributes:
      all: of all cores, busy or not.
      busy: of all cores, in any process.
      own: of this process and its children that have ended.
    """

    all: float
    busy: float
    own: float


def cpu_times() -> CpuTimes | None:
    """The times until now; None where the system does not count them as Linux does."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
        ticks = [int(count) for count in line.split()[1:9]]  # user, nice, system, idle, iowait, irq, softirq, steal
        every, seconds = sum(ticks), os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
    return CpuTimes(every / seconds, (every - sum(ticks[3:5])) / seconds, sum(os.times()[:4]))


def share_of_others(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    """Share of the CPU time of all cores that other processes took between two times; None where it is not known."""
    if before is None or after is None or after.all - before.all < SHORTEST:
        return None
    others = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, others / (after.all - before.all))


def upper_bounds(shares: Mapping[str, float | None]) -> str:
    """A sentence about the arms whose steps lost at least `SMALLEST` of the CPU time to other processes; '' if none.

    Args:
      shares: the `share_of_others` by arm.
    """
    known = {arm: share for arm, share in shares.items() if share is not None}
    loaded = [f"{100 * share:.0f} % during the steps of {arm}" for arm, share in known.items() if share >= SMALLEST]
    text = "Times are upper bounds: of the machine's CPU time other processes took"
    return f"{text} {', '.join(loaded)}." if loaded else ""

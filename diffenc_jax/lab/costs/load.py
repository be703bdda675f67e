"""CPU time that other processes use during a measurement, which makes the measured times upper bounds."""

import os
from collections.abc import Mapping
from pathlib import Path

SMALLEST = 0.05  # share of others that is worth a line
SHORTEST = 0.5  # seconds of CPU time; in less, the ticks of Linux's clocks are as large as that share


def cpu_seconds() -> tuple[float, float]:
    """Seconds since some start: of all cores, busy or idle, and of CPU time in processes other than this one.

    The children of this process count as part of it once they have ended. Both numbers are 0 on systems without Linux's
    counters.
    """
    try:
        line, seconds = Path("/proc/stat").read_text().partition("\n")[0], os.sysconf("SC_CLK_TCK")
        ticks = [int(count) for count in line.split()[1:9]]  # user, nice, system, idle, iowait, irq, softirq, steal
    except (OSError, ValueError):
        return 0.0, 0.0
    busy = sum(ticks[:3] + ticks[5:])
    return sum(ticks) / seconds, busy / seconds - sum(os.times()[:4])


def share_of_others(before: tuple[float, float], after: tuple[float, float]) -> float | None:
    """Share of the CPU time of all cores that others used between two `cpu_seconds`; None if the time is too short."""
    every, others = (later - earlier for later, earlier in zip(after, before, strict=True))
    return max(0.0, others / every) if every >= SHORTEST else None


def upper_bounds(shares: Mapping[str, float | None]) -> str:
    """A sentence about the arms whose steps lost at least `SMALLEST` of the CPU time to other processes; '' if none.

    Args:
      shares: the `share_of_others` by arm.
    """
    known = {arm: share for arm, share in shares.items() if share is not None}
    loaded = [f"{100 * share:.0f} % during the steps of {arm}" for arm, share in known.items() if share >= SMALLEST]
    text = "Times are upper bounds: of the machine's CPU time other processes took"
    return f"{text} {', '.join(loaded)}." if loaded else ""

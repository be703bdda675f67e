"""The table of a depth study: one row per depth and choice of steps.

Columns: depth, choice, bpd, excess (bits/dim above infinite depth) and kept (the excess divided by that of uniform
times and ratio 1 at the same depth).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffenc_jax.core.errors import require
from diffenc_jax.display.document import Table
from diffenc_jax.studies.outputs import ADVICE, Rows, read_rows

FOLDER = "depth_study"
UNIFORM, BOTH = "uniform times, ratio 1", "both"
# What is varied at each depth: (times, variance ratio).
CHOICES = {
    UNIFORM: ("uniform", 1.0),
    "best ratio": ("uniform", "optimal_pixel"),
    "best times": ("optimal", 1.0),
    BOTH: ("optimal", "optimal_pixel"),
}
CAPTION = "bits/dim (part of the excess that is kept)"
# The depth of the summary line, where it is among those studied.
REFERENCE_DEPTH = 50
# Depth and choice of the first row.
INFINITE = ("infinite", "")


def tabulate(bpd: Mapping[tuple[Any, str], float]) -> Rows:
    """Rows of the table, in the order of `bpd`: bits/dim by (depth, choice), with `INFINITE` first."""
    rows = []
    for (depth, choice), value in bpd.items():
        excess = value - bpd[INFINITE]
        kept = excess / (bpd[depth, UNIFORM] - bpd[INFINITE]) if choice else ""
        rows.append({"depth": depth, "choice": choice, "bpd": value, "excess": excess, "kept": kept})
    return rows


def read_table(path: Path) -> Rows:
    """The rows at `path`; raises InputError for a file that is no table of a depth study."""
    depth = lambda text: text if text == "infinite" else int(text)  # noqa: E731
    kept = lambda text: float(text) if text else ""  # noqa: E731
    rows = read_rows(path, {"depth": depth, "choice": str, "bpd": float, "excess": float, "kept": kept})
    by_depth = rows_by_depth(rows)
    complete = by_depth and all(list(choices) == list(CHOICES) for choices in by_depth.values())
    require(rows[0]["depth"] == "infinite" and complete, f"{path} lacks a depth or a choice of steps; {ADVICE}")
    return rows


def rows_by_depth(rows: Rows) -> dict[int, dict[str, dict[str, Any]]]:
    """The rows of finite depth, by depth and choice."""
    by_depth: dict[int, dict[str, dict[str, Any]]] = {}
    for row in rows[1:]:
        by_depth.setdefault(row["depth"], {})[row["choice"]] = row
    return by_depth


def depth_table(rows: Rows) -> Table:
    """A line per depth with a column per choice."""
    lines = [
        [depth, *(f"{row['bpd']:.4f} ({row['kept']:.2f})" for row in choices.values())]
        for depth, choices in rows_by_depth(rows).items()
    ]
    infinite = ["infinite", *[f"{rows[0]['bpd']:.4f}       "] * len(CHOICES)]
    return Table(["depth", *CHOICES], [*lines, infinite], f"test {CAPTION}")


def summary_line(rows: Rows) -> str:
    """'excess kept at T=50: 0.31': with fitted times and ratios, at `REFERENCE_DEPTH` or else the largest depth."""
    by_depth = rows_by_depth(rows)
    depth = REFERENCE_DEPTH if REFERENCE_DEPTH in by_depth else max(by_depth)
    return f"excess kept at T={depth}: {by_depth[depth][BOTH]['kept']:.2f}"

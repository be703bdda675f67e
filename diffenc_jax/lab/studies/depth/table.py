"""The table of a depth study: one row per depth and choice of steps.

Columns: depth, choice, bpd, excess (bits/dim above infinite depth), excess_se (its standard error over images and
noise, paired by image; empty for a single image) and kept (the excess divided by that of uniform times and ratio 1 at
the same depth).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from diffenc_jax.config.sections import FITTED_RATIOS, LEARNED_ERROR, OPTIMAL_ESTIMATE
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.core.numbers import with_error
from diffenc_jax.evaluation.uncertainty import difference
from diffenc_jax.lab.studies.outputs import ADVICE, Rows, read_rows
from diffenc_jax.runs.records import Evaluation

FOLDER = "depth_study"
PLAIN = "1"  # the choice of which the others keep a part: uniform times and ratio 1
TIMES = "+times"
CAPTION = "bits/dim above infinite depth ± standard error (part of the excess that is kept), by variance ratio"


class Choice(NamedTuple):
    """Steps of a given number: values of `loss.times` and `loss.variance_ratio`."""

    times: str
    ratio: float | str


# Choices by name: '1', '1+times', 'optimal_pixel', 'optimal_pixel+times', ...
CHOICES = {
    f"{name}{ending}": Choice(times, ratio)
    for name, ratio in {PLAIN: 1.0, **{name: name for name in (*FITTED_RATIOS, LEARNED_ERROR)}}.items()
    for ending, times in {"": "uniform", TIMES: "optimal"}.items()
}
# The ratios of the choices that are studied unless others are asked for; the last one if the run has an error head.
STUDIED = (PLAIN, "optimal_pixel", OPTIMAL_ESTIMATE, LEARNED_ERROR)


def studied(has_error_head: bool) -> list[str]:
    """Names of the choices that are studied unless others are asked for."""
    ratios = STUDIED if has_error_head else STUDIED[:-1]
    return [f"{ratio}{ending}" for ratio in ratios for ending in ("", TIMES)]


# The depth of the summary line, where it is among those studied.
REFERENCE_DEPTH = 50
# Depth and choice of the first row.
INFINITE = ("infinite", "")


def tabulate(evaluations: Mapping[tuple[Any, str], Evaluation]) -> Rows:
    """Rows of the table, in the order of `evaluations`: by (depth, choice), all of the same images, `INFINITE` first.

    Depths differ in their passes, so their noise is not common to them and only the images are paired.
    """
    infinite, rows = evaluations[INFINITE], []
    excess = {
        key: difference(found.bits, infinite.bits, found.replicates, infinite.replicates, common_noise=False)
        for key, found in evaluations.items()
    }
    for (depth, choice), (mean, error) in excess.items():
        row = {"depth": depth, "choice": choice, "bpd": float(evaluations[depth, choice].bits.mean()), "excess": mean}
        row["excess_se"] = error.total if choice else None
        row["kept"] = mean / excess[depth, PLAIN].mean if choice else None
        rows.append(row)
    return rows


def read_table(path: Path) -> Rows:
    """The rows at `path`; raises InputError for a file that is no table of a depth study."""
    depth = lambda text: text if text == "infinite" else int(text)  # noqa: E731
    known = lambda text: float(text) if text else None  # noqa: E731
    columns = {"depth": depth, "choice": str, "bpd": float, "excess": float, "excess_se": known, "kept": known}
    rows = read_rows(path, columns)
    by_depth = rows_by_depth(rows)
    found = [list(choices) for choices in by_depth.values()]
    complete = found and all(choices == found[0] for choices in found) and found[0][0] == PLAIN
    complete = complete and all(choice in CHOICES for choice in found[0])
    require(rows[0]["depth"] == "infinite" and complete, f"{path} lacks a depth or a choice of steps; {ADVICE}")
    return rows


def rows_by_depth(rows: Rows) -> dict[int, dict[str, dict[str, Any]]]:
    """The rows of finite depth, by depth and choice."""
    by_depth: dict[int, dict[str, dict[str, Any]]] = {}
    for row in rows[1:]:
        by_depth.setdefault(row["depth"], {})[row["choice"]] = row
    return by_depth


def depth_tables(rows: Rows, subject: str) -> list[Table]:
    """Tables for uniform times and for the best, where both were studied: a line per depth, a column per ratio.

    The captions name the subject and have the bits/dim that all exceed.
    """
    tables, by_depth = [], rows_by_depth(rows)
    for times, meaning in {"uniform": "uniform times", "optimal": "the best times"}.items():
        names = [name for name in next(iter(by_depth.values())) if CHOICES[name].times == times]
        lines = [[depth, *(_cell(choices[name]) for name in names)] for depth, choices in by_depth.items()]
        caption = f"{subject}, {meaning}: {CAPTION}; infinite depth: {rows[0]['bpd']:.4f}"
        if names:
            tables.append(Table(["depth", *(name.removesuffix(TIMES) for name in names)], lines, caption))
    return tables


def _cell(row: dict[str, Any]) -> str:
    return f"{with_error(row['excess'], row['excess_se'])} ({row['kept']:.2f})"


def summary_line(rows: Rows) -> str:
    """'excess kept at T=50: 0.31': with the last choice, at `REFERENCE_DEPTH` or else the largest depth."""
    by_depth = rows_by_depth(rows)
    depth = REFERENCE_DEPTH if REFERENCE_DEPTH in by_depth else max(by_depth)
    return f"excess kept at T={depth}: {list(by_depth[depth].values())[-1]['kept']:.2f}"

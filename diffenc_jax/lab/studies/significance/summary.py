"""The summary of a root: its findings as markdown, JSON, CSV and figures."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from diffenc_jax.core.document import Section, Text, markdown
from diffenc_jax.core.errors import InputError, reason
from diffenc_jax.lab.figures.style import save_figure
from diffenc_jax.lab.studies.csv_tables import csv_text
from diffenc_jax.lab.studies.plain import plain
from diffenc_jax.lab.studies.reproduction.beside import section
from diffenc_jax.lab.studies.reproduction.comparisons import COMPARISONS
from diffenc_jax.lab.studies.significance.analysis import Findings, find
from diffenc_jax.lab.studies.significance.curves import curves_of_arms
from diffenc_jax.lab.studies.significance.figure import draw_analysis, draw_curves, learning_panels
from diffenc_jax.lab.studies.significance.finished import arms_of, find_runs, read_costs
from diffenc_jax.lab.studies.significance.grid import read_grid
from diffenc_jax.lab.studies.significance.headline import headline
from diffenc_jax.lab.studies.significance.table import document, values_rows
from diffenc_jax.runs.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_summary(
    root: Path, reference: str | None, target: float, across_augmentation: bool = False
) -> tuple[Section | Text, list[Path]]:
    """Write significance.md, significance.json, values.csv with a row per run, and the figures as .png and .pdf.

    The last summary of other content is kept in root/earlier. Several machines may do so at once. If the runs
    repeat a published comparison, the document sets them beside its figures.

    Args:
      root: folder of the runs' workdirs.
      reference: arm with which the others are compared; None: that of the grid noted in `root`, or the first arm.
      target: see `analyse`.
      across_augmentation: see `find_runs`.

    Returns:
      The document and the files; if no run is finished, a line per missing run and no files.

    Raises:
      InputError: there are no runs, they cannot be compared, or `root` cannot be written to.
    """
    grid = read_grid(root)
    runs, missing = find_runs(root, grid, across_augmentation)
    if not runs:
        return Text("\n".join(map(str, missing))), []
    arms = arms_of(runs, missing)
    curves = curves_of_arms(runs, runs[0].evaluation.record["dataset"]["split"])
    findings = find(runs, missing, curves, reference or (grid.reference if grid else arms[0]), target)
    costs = read_costs(root, arms)
    repeated = {name: COMPARISONS[name] for name in (grid.reproduces if grid else ()) if name in COMPARISONS}
    overrides, command = (grid.overrides, grid.command(root)) if grid else ((), None)
    page = document(findings, costs, command, [section(one, findings.analysis, overrides) for one in repeated.values()])
    content = {
        "experiment": grid,
        "headline": headline(findings.analysis),
        **plain(findings.analysis),
        "costs": costs,
        "published": {name: one.arms for name, one in repeated.items()},
        "missing": missing,
        "software": {name: version(name) for name in ("diffenc_jax", "numpy", "scipy")},
    }
    figures = draw_analysis(findings.analysis, findings.data) | {"curves": _learning_curves(findings)}
    texts = {
        "significance.md": markdown(page) + "\n",
        "significance.json": json.dumps(plain(content), indent=1) + "\n",
        "values.csv": csv_text(values_rows(runs, root)),
    }
    files = [f"{name}{suffix}" for name in figures for suffix in (".png", ".pdf")]
    try:
        for name, text in texts.items():
            write_text(root / name, text)
        for name, figure in figures.items():
            save_figure(figure, root / name)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be written: {reason(error)}; make {root} writable") from error
    return page, [root / name for name in (*texts, *files)]


def _learning_curves(findings: Findings) -> "Figure":
    """Bits/dim of each arm in training and in the evaluations during training."""
    panels = learning_panels(findings.runs[0].evaluation.record["dataset"]["split"])
    return draw_curves(findings.curves, panels, 2, f"{findings.data}: bits/dim during training", common_axis=True)

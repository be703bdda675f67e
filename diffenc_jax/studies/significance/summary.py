"""The summary of a root: its findings as markdown, JSON, CSV and figures."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from diffenc_jax.core.errors import InputError
from diffenc_jax.display.document import Section, Text, markdown
from diffenc_jax.display.tables import csv_text
from diffenc_jax.runs.files import save_figure, write_text
from diffenc_jax.runs.metrics import read_metrics
from diffenc_jax.studies.significance.analysis import Findings, find
from diffenc_jax.studies.significance.figure import draw_analysis, draw_curves
from diffenc_jax.studies.significance.finished import curves_over_seeds, find_runs, learning_metrics, read_costs
from diffenc_jax.studies.significance.grid import read_grid
from diffenc_jax.studies.significance.table import document, values_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200


def write_summary(root: Path, reference: str | None, target: float) -> tuple[Section | Text, list[Path]]:
    """Write significance.md, significance.json, values.csv with a row per run, and the figures as .png and .pdf.

    Args:
      root: folder of the runs' workdirs.
      reference: arm with which the others are compared; None: that of the grid noted in `root`, or the first arm.
      target: see `analyse`.

    Returns:
      The document and the files; if no run is finished, a line per missing run and no files.

    Raises:
      InputError: there are no runs, they cannot be compared, or `root` cannot be written to.
    """
    grid = read_grid(root)
    runs, missing = find_runs(root, grid)
    if not runs:
        return Text("\n".join(f"{run.arm}, seed {run.seed}: {run.why}" for run in missing)), []
    reference = reference or (grid.reference if grid else next(run.arm for run in [*runs, *missing]))
    found = find(runs, missing, reference, target)
    costs = read_costs(root, list(dict.fromkeys(run.arm for run in [*runs, *missing])))
    page = document(found, costs, grid and grid.command(root))
    content = {
        "experiment": grid and asdict(grid),
        **found.analysis,
        "costs": costs,
        "missing": [run._asdict() for run in missing],
        "software": {name: version(name) for name in ("diffenc_jax", "numpy", "scipy")},
    }
    figures = draw_analysis(found.analysis, found.data) | {"curves": _learning_curves(found)}
    texts = {
        "significance.md": markdown(page) + "\n",
        "significance.json": json.dumps(content, indent=1) + "\n",
        "values.csv": csv_text(values_rows(runs, root)),
    }
    try:
        for name, content in texts.items():
            write_text(root / name, content)
        for name, figure in figures.items():
            for suffix in (".png", ".pdf"):
                save_figure(figure, root / f"{name}{suffix}", DPI)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be written: {error.strerror}; make {root} writable") from error
    return page, [root / name for name in (*texts, *(f"{name}.png" for name in figures))]


def _learning_curves(found: Findings) -> "Figure":
    """Bits/dim of each arm in training and in the evaluations during training."""
    metrics = learning_metrics(found.runs[0].evaluation.record["dataset"]["split"])
    rows = {arm: [read_metrics(r.workdir) for r in found.runs if r.arm == arm] for arm in found.analysis["arms"]}
    title = "bits/dim during training" + ": mean over seeds, 95 % band" * found.has_several_seeds
    units = dict.fromkeys(metrics, "bits/dim")
    return draw_curves(curves_over_seeds(rows, metrics), units, len(units), title, common_axis=True)

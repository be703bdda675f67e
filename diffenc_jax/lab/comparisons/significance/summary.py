"""The summary of a root: its findings as markdown, JSON and figures."""

import json
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path

from diffenc_jax.core.document import Section, Text, markdown
from diffenc_jax.lab.comparisons.significance.analysis import find
from diffenc_jax.lab.comparisons.significance.conclusions import cautions, conclusions
from diffenc_jax.lab.comparisons.significance.curves import curves_of_arms
from diffenc_jax.lab.comparisons.significance.figure import draw_analysis, draw_curves, learning_panels
from diffenc_jax.lab.comparisons.significance.finished import find_runs, read_costs
from diffenc_jax.lab.comparisons.significance.grid import read_grid
from diffenc_jax.lab.comparisons.significance.published import beside_published
from diffenc_jax.lab.comparisons.significance.table import document
from diffenc_jax.lab.figures.style import save_figure
from diffenc_jax.runs.files import MAKE_WRITABLE, write_text, writing


def write_summary(
    root: Path, reference: str | None, target: float, plugins: Collection[str] = ()
) -> tuple[Section | Text, list[Path]]:
    """Write significance.md, significance.json, and the figures as .png and .pdf.

    An earlier summary is replaced. If the runs repeat a published comparison, the document sets them beside its
    figures.

    Args:
      root: folder of the runs' workdirs.
      reference: arm with which the others are compared; None: that of the grid noted in `root`, or the first arm.
      target: see `analyse`.
      plugins: packages that may be imported because the noted evaluation names parts of theirs.

    Returns:
      The document and the files; if no run is finished, a line per missing run and no files.

    Raises:
      InputError: there are no runs, they cannot be compared, or `root` cannot be written to.
    """
    grid = read_grid(root, plugins)
    runs, missing = find_runs(root, grid)
    if not runs:
        return Text("\n".join(map(str, missing))), []
    split = runs[0].evaluation.record["dataset"]["split"]
    curves = curves_of_arms(runs, split)
    findings = find(runs, missing, curves, reference or (grid.reference if grid else None), target)
    analysis = findings.analysis
    costs = read_costs(root, [name for arm in analysis.arms.values() for name in arm.steps])
    published = beside_published(grid, analysis) if grid else []
    page = document(findings, costs, published)
    said = {"lines": conclusions(analysis), "cautions": cautions(findings)}
    content = {"experiment": grid and grid.note(), "headline": said, **vars(analysis), "costs": costs}
    content |= {"missing": missing, "software": {name: version(name) for name in ("diffenc_jax", "numpy", "scipy")}}
    texts = {
        "significance.md": markdown(page) + "\n",
        "significance.json": json.dumps(content, indent=1, default=vars) + "\n",
    }
    title = f"{findings.data}: bits/dim during training"
    figures = {
        "values": draw_analysis(analysis, findings.data),
        "curves": draw_curves(curves, learning_panels(split), title, common_axis=True),
    }
    files = [root / name for name in texts]
    with writing(root, MAKE_WRITABLE):
        for path, text in zip(files, texts.values(), strict=True):
            write_text(path, text)
        for name, figure in figures.items():
            files += save_figure(figure, root / name)
    return page, files

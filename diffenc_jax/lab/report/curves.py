"""Course of training: bits/dim, terms, quarters of t, gradient norm and speed, from the metrics."""

from typing import Any

import numpy as np

from diffenc_jax.core.document import Section, Table, Text
from diffenc_jax.core.numbers import format_number
from diffenc_jax.lab.report.collect import Collection
from diffenc_jax.lab.report.embedded import embed_figure
from diffenc_jax.lab.report.html import Fold
from diffenc_jax.lab.studies.significance.analysis import FEWEST_SEEDS
from diffenc_jax.lab.studies.significance.curves import Curves, curves_over_seeds, learning_curves
from diffenc_jax.lab.studies.significance.figure import Panel, draw_curves, learning_panels

TERMS = {name: name for name in ("reconstruction", "latent", "diffusion")}
QUARTERS = {f"quarter {i} of t": f"diffusion_quarter_{i}" for i in (1, 2, 3, 4)}
PACE = {"gradient norm": "grad_norm", "images per second": "images_per_second"}
PANELS = {f"quarter {i} of t": Panel(f"quarter {i} of the time $t$ in $[0, 1]$") for i in (1, 2, 3, 4)} | {
    "gradient norm": Panel("norm of the gradient", "norm"),
    "images per second": Panel("pace", "images per second"),
}  # all others are titled by their kind
ABOUT = (
    "Training values are means over the steps since the previous point, with the parameters of each step; evaluations "
    "are of their moving average (EMA), on {split}. The first tenth of the steps may lie outside a panel."
)
ABOUT_SEEDS, ABOUT_BANDS = " Lines are means over seeds", ", bands their 95 % t intervals, which may leave a panel"


def curves_section(collection: Collection) -> Section:
    """All curves for which there are metrics."""
    split, groups = collection.runs[0].config.eval.split, collection.groups
    rows = {name: [run.metrics for run in runs] for name, runs in groups.items()}
    arms = {name: runs[0].config.arm for name, runs in groups.items()}
    learning = learning_curves(rows, split)
    if not any(points for kinds in learning.values() for points in kinds.values()):
        return Section("Curves", [Text("Nothing is logged yet: metrics.jsonl fills while the run trains.")])
    seeds, about = max(len(runs) for runs in rows.values()), ABOUT.format(split=split)
    about += f"{ABOUT_SEEDS}{ABOUT_BANDS * (seeds >= FEWEST_SEEDS)}." if seeds > 1 else ""
    caption = f"Bits/dim by step: the training loss (no EMA), and evaluations of the EMA parameters on {split}."
    figure = draw_curves(learning, learning_panels(split), 2, common_axis=True, arms=arms)
    alt = f"Lines by step. {caption} {_courses(learning)}."
    blocks: list[Any] = [Text(about), embed_figure(figure, alt, caption)]
    if evaluations := _evaluations(learning):
        table = Table(["step", *learning], evaluations, "Bits/dim by step")
        blocks.append(Fold("Evaluations during training, in numbers", [table]))
    for metrics, columns, caption in (
        (TERMS, 3, "Training loss by term (parameters of each step, no EMA), by step."),
        (QUARTERS, 2, "Training diffusion loss by quarter of t (the first is nearest to the data), by step."),
        (PACE, 2, "Norm of the gradient, and images per second, by step."),
    ):
        curves = curves_over_seeds(rows, metrics)
        if shown := {kind: PANELS.get(kind, Panel(kind)) for kind in metrics if any(c[kind] for c in curves.values())}:
            alt = f"{caption} {_courses(curves)}."
            blocks.append(embed_figure(draw_curves(curves, shown, columns, arms=arms), alt, caption))
    return Section("Curves", blocks)


def _courses(curves: Curves) -> str:
    """'vdm, training: 5.123 at step 10, 3.210 at step 120; ...' for each line."""
    lines = []
    for name, kinds in curves.items():
        for kind, points in kinds.items():
            ends = points[:1] + points[1:][-1:]
            values = ", ".join(f"{np.mean(values):.3f} at step {step:,}" for step, values in ends)
            lines += [f"{name}, {kind}: {values}"] * bool(points)
    return "; ".join(lines)


def _evaluations(curves: Curves) -> list[list[str]]:
    """A row per step with the mean over seeds of each name."""
    means = [{step: float(np.mean(v)) for step, v in kinds["evaluation"]} for kinds in curves.values()]
    steps = sorted(set().union(*means))
    return [[f"{step:,}", *(format_number(column.get(step)) for column in means)] for step in steps]

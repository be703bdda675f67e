"""How training went: bits/dim, terms, quarters of t, gradient and speed, from metrics.jsonl."""

from typing import Any

import numpy as np

from diffenc_jax.compare import UNKNOWN
from diffenc_jax.document import Section, Table, Text
from diffenc_jax.report import figures
from diffenc_jax.report.collect import Collection
from diffenc_jax.report.figures import Picture
from diffenc_jax.report.html import Fold
from diffenc_jax.significance import plots
from diffenc_jax.significance.plots import Curves, Points
from diffenc_jax.significance.results import over_seeds
from diffenc_jax.workdir import TOTAL

TERMS = {"reconstruction": "reconstruction", "latent": "latent", "diffusion": "diffusion"}
QUARTERS = {f"quarter {i} of t": f"diffusion_quarter_{i}" for i in (1, 2, 3, 4)}
PACE = {"gradient norm": "grad_norm", "images a second": "images_per_second"}


def section(collection: Collection) -> Section:
    """All curves that there are."""
    split = next(iter(collection.runs)).config.eval.split
    learning = _curves(collection, {"training": "bpd", "evaluation": f"{split}{TOTAL}"})
    if not any(curves["training"] or curves["evaluation"] for curves in learning.values()):
        return Section("Curves", [Text("Nothing is logged yet: metrics.jsonl fills while the run trains.")])
    blocks: list[Any] = [Text(_about(collection, split)), _learning(learning, split)]
    if rows := _evaluations(learning):
        table = Table(["step", *learning], rows, "Bits/dim by step")
        blocks.append(Fold("Evaluations on the way, in numbers", [table]))
    bits = "bits/dim"
    blocks += _panels(collection, TERMS, [bits] * 3, 3, "Training bits/dim by term, by step.")
    quarters = "Training diffusion loss by quarter of t (the first is nearest the data), by step."
    blocks += _panels(collection, QUARTERS, [bits] * 4, 2, quarters)
    pace = "Norm of the gradient, and images a second, by step."
    blocks += _panels(collection, PACE, ["norm", "images/s"], 2, pace)
    return Section("Curves", blocks)


def _curves(collection: Collection, kinds: dict[str, str]) -> Curves:
    """By group and kind, (step, value of every run of the group)."""
    return {
        name: {kind: over_seeds([run.metrics for run in runs], metric) for kind, metric in kinds.items()}
        for name, runs in collection.groups.items()
    }


def _about(collection: Collection, split: str) -> str:
    several = any(len(runs) > 1 for runs in collection.groups.values())
    text = (
        "Training values are means over the steps since the one before, of the parameters as they were then; "
        f"evaluations are of their moving average, on {split}. The first tenth of the steps may lie outside a panel."
    )
    return f"{text} Lines are means over seeds, bands their 95 % t intervals." if several else text


def _learning(curves: Curves, split: str) -> Picture:
    text = "; ".join(
        part
        for name, kinds in curves.items()
        for part in (_course(f"{name}, training", kinds["training"]), _course(f"{name}, {split}", kinds["evaluation"]))
        if part
    )
    alt = f"Lines of bits/dim by step, training on the left and evaluation on the right. {text}."
    return figures.of_figure(plots.learning(curves), alt, f"Bits/dim by step: in training, and evaluated on {split}.")


def _course(name: str, points: Points, digits: int = 3) -> str:
    """'vdm, training: 5.123 at step 10, 3.210 at step 120'; nothing where there is nothing."""
    ends = [points[0], points[-1]] if len(points) > 1 else points
    return f"{name}: " + ", ".join(f"{np.mean(v):.{digits}f} at step {s:,}" for s, v in ends) if ends else ""


def _evaluations(curves: Curves) -> list[list[str]]:
    """A row a step, the mean over seeds of each name."""
    means = [{step: float(np.mean(v)) for step, v in kinds["evaluation"]} for kinds in curves.values()]
    steps = sorted(set().union(*means))
    return [[f"{s:,}", *(f"{column[s]:.4f}" if s in column else UNKNOWN for column in means)] for s in steps]


def _panels(
    collection: Collection, kinds: dict[str, str], ylabels: list[str], columns: int, caption: str
) -> list[Picture]:
    curves = _curves(collection, kinds)
    seen = [kind for kind in kinds if any(points[kind] for points in curves.values())]
    if not seen:
        return []
    shown = [label for kind, label in zip(kinds, ylabels, strict=True) if kind in seen]
    named = ((f"{name}, {kind}", points[kind]) for name, points in curves.items() for kind in seen)
    last = [_course(name, points[-1:]) for name, points in named if points]
    alt = f"{caption} In the end: {'; '.join(last)}."
    return [figures.of_figure(figures.panels(curves, seen, shown, min(columns, len(seen))), alt, caption)]

"""Curves of training over the seeds of arms, and how much bits/dim still fell at the end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffenc_jax.evaluation.means import quietly
from diffenc_jax.lab.comparisons.significance.finished import FinishedRun
from diffenc_jax.runs.metrics import TOTAL, Row, read_metrics

Points = list[tuple[int, list[float]]]  # (step, value of each seed)
Curves = dict[str, dict[str, Points]]  # by name of a group of runs, such as the arm, and by kind


@dataclass(frozen=True)
class Fall:
    """Fall of bits/dim at the end of the training of an arm, mean over its seeds, from step `since` on."""

    bpd: float
    since: int


def fall_of(evaluations: Points) -> Fall | None:
    """Fall since the last evaluation in the first three quarters of training; None if there is none."""
    early = [point for point in evaluations if point[0] <= 0.75 * evaluations[-1][0]]
    if not early:
        return None
    before, after = means_of([early[-1], evaluations[-1]])
    return Fall(before - after, early[-1][0])


@quietly
def means_of(points: Points) -> list[float]:
    """The mean over seeds at each step."""
    return [float(np.mean(values)) for _, values in points]


def curves_of_arms(
    runs: Sequence[FinishedRun], split: str, metrics: Callable[[Path], Sequence[Row]] = read_metrics
) -> Curves:
    """The `learning_curves` of each arm, from the rows of `metrics` by workdir."""
    rows: dict[str, list[Sequence[Row]]] = {}
    for run in runs:
        rows.setdefault(run.arm, []).append(metrics(run.workdir))
    return learning_curves(rows, split)


def learning_curves(groups: Mapping[str, Sequence[Sequence[Row]]], split: str) -> Curves:
    """Bits/dim in 'training' and in each 'evaluation' on `split`; see `curves_over_seeds`."""
    return curves_over_seeds(groups, {"training": "bpd", "evaluation": f"{split}{TOTAL}"})


def curves_over_seeds(groups: Mapping[str, Sequence[Sequence[Row]]], metrics: Mapping[str, str]) -> Curves:
    """Curves of `metrics`, by kind, for each group of runs; a run is given by its rows of metrics.

    A curve has the steps that all runs of its group have.
    """
    return {name: {kind: _curve(runs, metric) for kind, metric in metrics.items()} for name, runs in groups.items()}


def _curve(runs: Sequence[Sequence[Row]], metric: str) -> Points:
    by_step = [{int(row["step"]): row[metric] for row in rows if metric in row} for rows in runs]
    steps = sorted(set.intersection(*map(set, by_step)))
    return [(step, [values[step] for values in by_step]) for step in steps]

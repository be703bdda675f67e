"""Curves of training over the seeds of arms, and how much bits/dim still fell at the end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffenc_jax.lab.studies.significance.finished import FinishedRun
from diffenc_jax.runs.metrics import TOTAL, Row, read_metrics, training_seconds

Points = list[tuple[float, list[float]]]  # (step or seconds, value of each seed)
Curves = dict[str, dict[str, Points]]  # by name of a group of runs, such as the arm, and by kind
# Parts of training whose mean losses are compared where there are no evaluations.
QUARTERS = ((0.5, 0.75), (0.75, 1.0))


@dataclass(frozen=True)
class Fall:
    """Fall of bits/dim at the end of the training of an arm, mean over its seeds.

    Attributes:
      bpd: bits/dim at step `since` less those at the end.
      since: step from which on it is counted; the middle of a stretch of steps for training losses.
      evaluated: whether the values are evaluations of the EMA parameters, not training losses.
    """

    bpd: float
    since: int
    evaluated: bool


def fall_of(kinds: Mapping[str, Points]) -> Fall | None:
    """Fall over about the last quarter of training, from an arm's `learning_curves`; None if they do not show it.

    It is counted from the last evaluation within the first three quarters. Without such an evaluation it is the mean
    training loss of the third quarter less that of the last one.
    """
    evaluations, losses = kinds["evaluation"], kinds["training"]
    last = max((step for points in (evaluations, losses) for step, _ in points), default=0)
    early = [point for point in evaluations if point[0] <= 0.75 * last]
    if early and evaluations[-1][0] == last:
        (since, before), (_, after) = early[-1], evaluations[-1]
        return Fall(float(np.mean(before) - np.mean(after)), int(since), True)
    quarters = [[np.mean(values) for step, values in losses if a * last < step <= b * last] for a, b in QUARTERS]
    if not all(quarters):
        return None
    return Fall(float(np.mean(quarters[0]) - np.mean(quarters[1])), round(0.625 * last), False)


def learning_curves(
    groups: Mapping[str, Sequence[Sequence[Row]]], batch_sizes: Mapping[str, int], split: str
) -> Curves:
    """Bits/dim in 'training' and in each 'evaluation' on `split`, by step, and the same by time.

    'training by time' and 'evaluation by time' are against the seconds of training, means over the runs of a group.

    Args:
      groups: rows of metrics of each run, by name of the group.
      batch_sizes: images per step, by name of the group.
    """
    curves = curves_over_seeds(groups, {"training": "bpd", "evaluation": f"{split}{TOTAL}"})
    for name, kinds in curves.items():
        clocks = [training_seconds(rows, batch_sizes[name]) for rows in groups[name]]
        kinds |= {f"{kind} by time": _by_time(points, clocks) for kind, points in kinds.items()}
    return curves


def _by_time(points: Points, clocks: Sequence[Mapping[int, float]]) -> Points:
    """Points by step against seconds instead; none where the pace of a run is not known."""
    if any(len(clock) == 1 for clock in clocks):
        return []
    seconds = [np.interp([step for step, _ in points], list(clock), list(clock.values())) for clock in clocks]
    return [(float(at), values) for at, (_, values) in zip(np.mean(seconds, axis=0), points, strict=True)]


def curves_of_arms(
    runs: Sequence[FinishedRun], split: str, metrics: Callable[[Path], Sequence[Row]] = read_metrics
) -> Curves:
    """The `learning_curves` of each arm, from the rows of `metrics` by workdir."""
    rows: dict[str, list[Sequence[Row]]] = {}
    for run in runs:
        rows.setdefault(run.arm, []).append(metrics(run.workdir))
    return learning_curves(rows, {run.arm: run.config.train.batch_size for run in runs}, split)


def curves_over_seeds(groups: Mapping[str, Sequence[Sequence[Row]]], metrics: Mapping[str, str]) -> Curves:
    """Curves of `metrics`, by kind, of each group of runs, given by their rows of metrics.

    A curve has the steps that all runs of its group have.
    """
    return {name: {kind: _curve(runs, metric) for kind, metric in metrics.items()} for name, runs in groups.items()}


def _curve(runs: Sequence[Sequence[Row]], metric: str) -> Points:
    by_step = [{row["step"]: row[metric] for row in rows if metric in row} for rows in runs]
    steps = sorted(set.intersection(*map(set, by_step)))
    return [(step, [values[step] for values in by_step]) for step in steps]

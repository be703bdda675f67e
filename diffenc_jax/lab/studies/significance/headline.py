"""Conclusions from the differences between arms, and cautions: one text for files, terminal and page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.core.numbers import format_interval, format_p
from diffenc_jax.lab.studies.significance.finished import Points

ALPHA, PERCENT = 0.05, "5 %"
MAIN_TEST = "paired t"
# With fewer seeds nothing is concluded, and no spread over seeds is extrapolated.
FEWEST_SEEDS = 3
# Parts of training whose mean losses are compared where there are no evaluations.
QUARTERS = ((0.5, 0.75), (0.75, 1.0))


class Headline(NamedTuple):
    """Conclusions of an analysis.

    Attributes:
      lines: one per comparison.
      cautions: one sentence per fact that qualifies them.
    """

    lines: list[str]
    cautions: list[str]

    @property
    def items(self) -> list[str]:
        """The lines and the cautions."""
        return [*self.lines, *self.cautions]


class Fall(NamedTuple):
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


def headline(analysis: Mapping[str, Any]) -> Headline:
    """Conclusions of an analysis (`analyse`), which has 'trivial' (`TrivialModels.bpd`), and a `Fall` by 'falls'.

    A difference is called significant if the main test, corrected for the number of comparisons, rejects at the level
    `ALPHA` over at least `FEWEST_SEEDS` seeds. Among arms of equal models that happens in at most `ALPHA` of the
    analyses, whatever their number.
    """
    comparisons = analysis["comparisons"]
    lines = [_line(comparison, sum(MAIN_TEST in c["tests"] for c in comparisons)) for comparison in comparisons]
    of_tests = [*_disagreeing(comparisons), *_narrow(comparisons)]
    cautions = [*_above_trivial(analysis), *of_tests, *_unfinished(analysis)]
    return Headline(lines, [f"Caution: {caution}." for caution in cautions])


def _line(comparison: Mapping[str, Any], count: int) -> str:
    arm, reference, seeds = comparison["arm"], comparison["reference"], len(comparison["paired_seeds"])
    if not seeds:
        return f"{arm} against {reference}: no common seed, so no difference is known."
    mean = comparison["mean"]
    where = f"{arm} lies {abs(mean):.4f} bits/dim {'below' if mean < 0 else 'above'} {reference}"
    over = f"over {seeds} seed{'s' * (seeds > 1)}, on these images"
    if seeds < FEWEST_SEEDS:
        return f"{where} {over}: too few seeds for a conclusion about other seeds."
    p = comparison["tests"][MAIN_TEST]["holm_p_two_sided"]
    how = f"{MAIN_TEST} test, p = {format_p(p)}" + f", corrected for {count} comparisons" * (count > 1)
    uncorrected = ", uncorrected" * (count > 1)
    found = f"{where} ({format_interval(comparison['interval'])}{uncorrected}) {over}"
    if p < ALPHA:
        return f"{found}: a significant difference at the {PERCENT} level ({how})."
    return (
        f"{found}: not significantly different from zero at the {PERCENT} level ({how}); "
        "the interval says which differences remain possible."
    )


def _above_trivial(analysis: Mapping[str, Any]) -> list[str]:
    """That arms are worse than the best trivial model."""
    name, bound = min(analysis["trivial"].items(), key=lambda item: item[1])
    means = {arm: float(np.mean(list(found["bpd"].values()))) for arm, found in analysis["arms"].items()}
    above = [f"{arm} ({mean:.4f})" for arm, mean in means.items() if mean > bound]
    if not above:
        return []
    return [f"worse than a model without a network ({name}: {bound:.4f} bits/dim): {', '.join(above)}"]


def _disagreeing(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """That the tests of a comparison do not all fall on one side of the level.

    A permutation test over few seeds that gives the smallest p that it can give does not disagree.
    """
    texts = []
    for comparison in comparisons:
        smallest = 2 / 2 ** len(comparison["paired_seeds"])
        ps = {name: test["holm_p_two_sided"] for name, test in comparison["tests"].items()}
        free = {
            ps[name] < ALPHA
            for name, test in comparison["tests"].items()
            if test["df"] is not None or test["p_two_sided"] > smallest
        }
        if len(free) > 1:
            texts.append(f"{comparison['arm']} ({', '.join(f'{name} p = {format_p(p)}' for name, p in ps.items())})")
    return [f"the tests disagree at the {PERCENT} level about {'; '.join(texts)}"] if texts else []


def _narrow(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """That differences over seeds spread less than the noise of their evaluation makes them spread."""
    texts = []
    for comparison in comparisons:
        parts = comparison.get("between_seeds") or {}
        if parts.get("noise") is not None and parts["between"] < parts["noise"]:
            texts.append(f"{comparison['arm']} ({parts['between']:.4f}, noise {parts['noise']:.4f})")
    if not texts:
        return []
    return [
        f"by chance the differences spread less over seeds than by the noise of their evaluations: {'; '.join(texts)}; "
        "a t test's p, which rests on that spread, is likely too small"
    ]


def _unfinished(analysis: Mapping[str, Any]) -> list[str]:
    """That bits/dim still fell at the end of training by more than arms differ."""
    smallest: dict[str, float] = {}
    for comparison in analysis["comparisons"]:
        for arm in (comparison["arm"], comparison["reference"]):
            smallest[arm] = min(smallest.get(arm, math.inf), abs(comparison.get("mean", math.inf)))
    texts = []
    for arm, difference in smallest.items():
        fall = analysis["falls"].get(arm)
        if fall is not None and fall["bpd"] > difference:
            kind = "" if fall["evaluated"] else " in the training loss"
            texts.append(f"{arm} (by {fall['bpd']:.4f} after step {fall['since']:,}{kind})")
    return (
        [f"training is unfinished, bits/dim still fell by more than arms differ: {', '.join(texts)}"] if texts else []
    )

"""Conclusions from the differences between arms, and cautions: one text for files, terminal and page."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffenc_jax.core.numbers import format_interval, format_p
from diffenc_jax.lab.studies.significance.analysis import ALPHA, FEWEST_SEEDS, MAIN_TEST, Analysis, Comparison

PERCENT = f"{100 * ALPHA:g} %"


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


def headline(analysis: Analysis) -> Headline:
    """Conclusions of an analysis.

    A difference is called significant if the main test, corrected for the number of comparisons, rejects at the level
    `ALPHA` over at least `FEWEST_SEEDS` seeds. Among arms of equal models that happens in at most `ALPHA` of the
    analyses, whatever their number.
    """
    comparisons = analysis.comparisons
    lines = [_line(comparison, sum(MAIN_TEST in c.tests for c in comparisons)) for comparison in comparisons]
    cautions = (_above_trivial(analysis), _disagreeing(comparisons), _narrow(comparisons), _unfinished(analysis))
    return Headline(lines, [f"Caution: {caution}." for caution in cautions if caution])


def _line(comparison: Comparison, count: int) -> str:
    arm, reference, seeds, mean = comparison.arm, comparison.reference, comparison.n, comparison.mean
    if mean is None:
        return f"{arm} against {reference}: no common seed, so no difference is known."
    where = f"{arm} lies {abs(mean):.4f} bits/dim {'below' if mean < 0 else 'above'} {reference}"
    over = f"over {seeds} seed{'s' * (seeds > 1)}, on these images"
    if seeds < FEWEST_SEEDS:
        return f"{where} {over}: too few seeds for a conclusion about other seeds."
    p = comparison.tests[MAIN_TEST].corrected
    how = f"{MAIN_TEST} test, p = {format_p(p)}" + f", corrected for {count} comparisons" * (count > 1)
    uncorrected = ", uncorrected" * (count > 1)
    difference = f"{where} ({format_interval(comparison.interval)}{uncorrected}) {over}"
    if p < ALPHA:
        return f"{difference}: a significant difference at the {PERCENT} level ({how})."
    return (
        f"{difference}: not significantly different from zero at the {PERCENT} level ({how}); "
        "the interval says which differences remain possible."
    )


def _above_trivial(analysis: Analysis) -> str:
    """That arms are worse than the best trivial model; '' if none is."""
    name, bound = min(analysis.trivial.items(), key=lambda item: item[1])
    means = {name: float(np.mean(list(arm.bpd.values()))) for name, arm in analysis.arms.items()}
    above = ", ".join(f"{arm} ({mean:.4f})" for arm, mean in means.items() if mean > bound)
    return above and f"worse than a model without a network ({name}: {bound:.4f} bits/dim): {above}"


def _disagreeing(comparisons: Sequence[Comparison]) -> str:
    """That the tests of a comparison do not all fall on one side of the level; '' if they do.

    A permutation test over few seeds that gives the smallest p that it can give does not disagree.
    """
    texts = []
    for comparison in comparisons:
        smallest = 2 / 2**comparison.n
        free = [test for test in comparison.tests.values() if test.df is not None or test.p_two_sided > smallest]
        if len({test.corrected < ALPHA for test in free}) > 1:
            ps = (f"{name} p = {format_p(test.corrected)}" for name, test in comparison.tests.items())
            texts.append(f"{comparison.arm} ({', '.join(ps)})")
    return f"the tests disagree at the {PERCENT} level about {'; '.join(texts)}" if texts else ""


def _narrow(comparisons: Sequence[Comparison]) -> str:
    """That differences over seeds spread less than the noise of their evaluation makes them spread; '' if none does."""
    pairs = [(comparison.arm, comparison.between_seeds) for comparison in comparisons]
    narrow = [(arm, p.between, p.noise) for arm, p in pairs if p and p.noise is not None and p.between < p.noise]
    if not narrow:
        return ""
    texts = "; ".join(f"{arm} ({between:.4f}, noise {noise:.4f})" for arm, between, noise in narrow)
    return (
        f"by chance the differences spread less over seeds than by the noise of their evaluations: {texts}; "
        "a t test's p, which rests on that spread, is likely too small"
    )


def _unfinished(analysis: Analysis) -> str:
    """That bits/dim still fell at the end of training by more than arms differ; '' if they did not."""
    smallest: dict[str, float] = {}
    for comparison in analysis.comparisons:
        difference = math.inf if comparison.mean is None else abs(comparison.mean)
        for arm in (comparison.arm, comparison.reference):
            smallest[arm] = min(smallest.get(arm, math.inf), difference)
    texts = []
    for arm, difference in smallest.items():
        fall = analysis.falls.get(arm)
        if fall is not None and fall.bpd > difference:
            kind = "" if fall.evaluated else " in the training loss"
            texts.append(f"{arm} (by {fall.bpd:.4f} after step {fall.since:,}{kind})")
    named = ", ".join(texts)
    return named and f"training is unfinished, bits/dim still fell by more than arms differ: {named}"

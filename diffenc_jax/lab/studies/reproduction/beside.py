"""Measured values beside the published ones, and the paper's test beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from diffenc_jax.core.document import Section, Table, Text
from diffenc_jax.core.numbers import UNKNOWN, format_interval, format_number, with_error
from diffenc_jax.evaluation.means import interval_of_sum
from diffenc_jax.lab.stats.hypotheses import welch_t_of_means
from diffenc_jax.lab.studies.reproduction.comparisons import PAPER, Comparison, Published
from diffenc_jax.lab.studies.significance.analysis import MAIN_TEST, Analysis, CorrectedTest, OverSeeds

PAPERS_TEST = "Welch t"
Rows = list[list[str]]


def section(comparison: Comparison, analysis: Analysis, overrides: Sequence[str]) -> Section:
    """The section of a report on a comparison: its arms and their differences to the reference, and tests of these.

    Args:
      analysis: that of runs that include those of the comparison.
      overrides: changes of the configuration that the runs have.
    """
    arms, reference, seeds = comparison.arms, comparison.arms[comparison.reference], comparison.num_seeds
    measured = {arm: analysis.arms[arm] for arm in arms if arm in analysis.arms}
    against = {c.arm: c for c in analysis.comparisons if c.reference == comparison.reference and c.arm in arms}
    values = [_value(arm, ours, arms[arm].mean, [arms[arm]], seeds) for arm, ours in measured.items()]
    tests: Rows = []
    for arm, ours in against.items():
        published, difference = arms[arm], None
        if published.mean is not None and reference.mean is not None:
            difference = published.mean - reference.mean
        values.append(_value(f"{arm} - reference", ours, difference, [published, reference], seeds))
        tests += [[arm, *row] for row in _tests(ours.tests, published, reference, seeds)]
    changes = ", ".join(override for override in overrides if override not in comparison.overrides)
    differs = f" These runs differ from that in {changes}." if changes else ""
    about = (
        f"{PAPER}: {seeds} seeds, {comparison.steps:,} steps.{differs} Differences are measured minus "
        "published; intervals are 95 % t intervals (Welch-Satterthwaite) over the seeds of both or, where the "
        "published standard error is not known (*), over ours only."
    )
    blocks: list[Any] = [Text(about), Table(["", "measured", "published", "difference", "interval"], values)]
    if tests:
        heads = ["arm", "values", "test", "statistic", "df", "p one-sided, lower", "p two-sided"]
        text = (
            "The paper's test is Welch's, one-sided, against the reference; from its figures it is computed from the "
            f"rounded means and standard errors. Ours is the two-sided {MAIN_TEST} test. None is corrected here."
        )
        blocks += [Text(text), Table(heads, tests)]
    return Section(f"Beside the published figures: {comparison.title}", blocks)


def _value(name: str, ours: OverSeeds, published: float | None, sources: Sequence[Published], seeds: int) -> list[str]:
    """Cells about a value and a published one, which has the independent standard errors of its `sources`."""
    errors = [source.standard_error for source in sources]
    shown, difference, interval = UNKNOWN, None, None
    if published is not None:
        shown = f"{published:.3f}".rstrip("0").rstrip(".") + "*" * (None in errors)
    if published is not None and ours.mean is not None:
        difference = ours.mean - published
    if difference is not None and ours.standard_error:
        parts = [(ours.standard_error, ours.n - 1), *((error, seeds - 1) for error in errors if error is not None)]
        interval = interval_of_sum(difference, parts)
    measured = with_error(ours.mean, ours.standard_error)
    return [name, measured, shown, format_number(difference), format_interval(interval)]


def _tests(ours: Mapping[str, CorrectedTest], published: Published, reference: Published, seeds: int) -> Rows:
    """The paper's test of the published figures and of the measured values, and our test of the latter."""
    tests = [("measured", name, ours[name]) for name in (PAPERS_TEST, MAIN_TEST) if name in ours]
    sides = [(a.mean, a.standard_error, seeds) for a in (published, reference) if a.mean and a.standard_error]
    if len(sides) == 2:
        tests.insert(0, ("published", PAPERS_TEST, CorrectedTest.of(welch_t_of_means(*sides))))
    return [
        [*names, *(f"{number:.3g}" for number in (t.statistic, t.df, t.p_one_sided_less, t.p_two_sided))]
        for *names, t in tests
    ]

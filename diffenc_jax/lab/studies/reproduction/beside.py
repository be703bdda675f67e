"""Measured values beside the published ones, and the paper's test beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from diffenc_jax.core.document import Section, Table, Text
from diffenc_jax.core.numbers import UNKNOWN, format_interval, format_number, with_error
from diffenc_jax.evaluation.means import interval_of_sum
from diffenc_jax.lab.stats.hypotheses import Outcome, welch_t_of_means
from diffenc_jax.lab.studies.reproduction.comparisons import PAPER, Comparison, Published

# Tests of the measured values that stand beside the published one, by their names in an analysis.
PAPERS_TEST, OUR_TEST = "Welch t", "paired t"


def beside_published(comparison: Comparison, analysis: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Measured and published values of `comparison`; JSON values.

    Args:
      analysis: that of `significance.analysis.analyse`, of runs that include those of the comparison.
      overrides: changes of the configuration that the runs have.

    Returns:
      'title', 'seeds', 'steps', 'changes' (the overrides that the comparison does not have), and
      arms: by arm the 'measured' and the 'published' mean, their 'difference' and its 95 % 'interval'.
      differences: the same of the differences to the reference, by arm.
      tests: by arm, the tests of the difference to the reference: 'values', 'test', 'statistic', 'df', and p values.
    """
    arms, level = analysis["arms"], analysis["level"]
    against = {c["arm"]: c for c in analysis["comparisons"] if c["reference"] == comparison.reference}
    reference = comparison.published[comparison.reference]
    result: dict[str, Any] = {
        "title": comparison.title,
        "seeds": comparison.num_seeds,
        "steps": comparison.steps,
        "changes": [override for override in overrides if override not in comparison.overrides],
        "arms": {},
        "differences": {},
        "tests": {},
    }
    for arm, published in comparison.published.items():
        if arm in arms:
            errors = [published.standard_error]
            result["arms"][arm] = _beside(arms[arm], published.mean, errors, comparison.num_seeds, level)
        if arm in against:
            errors = [published.standard_error, reference.standard_error]
            both = None not in (published.mean, reference.mean)
            difference = published.mean - reference.mean if both else None
            result["differences"][arm] = _beside(against[arm], difference, errors, comparison.num_seeds, level)
            result["tests"][arm] = _tests(against[arm]["tests"], published, reference, comparison.num_seeds)
    return result


def _beside(
    measured: Mapping[str, Any], published: float | None, errors: Sequence[float | None], num_seeds: int, level: float
) -> dict[str, Any]:
    """A measured and a published value, which has independent standard `errors` over `num_seeds` seeds each."""
    mean, error = measured.get("mean"), measured.get("standard_error")
    known = None not in (mean, published)
    interval = None
    if known and error:
        parts = [(error, measured["n"] - 1), *((e, num_seeds - 1) for e in errors if e is not None)]
        interval = interval_of_sum(mean - published, parts, level)
    return {
        "measured": mean,
        "measured_standard_error": error,
        "published": published,
        "published_error_known": None not in errors,
        "difference": mean - published if known else None,
        "interval": interval,
    }


def _tests(
    measured: Mapping[str, Any], published: Published, reference: Published, num_seeds: int
) -> list[dict[str, Any]]:
    """The paper's test of the published figures and of the measured values, and our test of the latter."""
    tests = []
    if None not in (*published, *reference):
        outcome = welch_t_of_means((*published, num_seeds), (*reference, num_seeds))
        tests.append({"values": "published", "test": PAPERS_TEST, **_numbers(outcome)})
    for name in (PAPERS_TEST, OUR_TEST):
        if name in measured:
            tests.append({"values": "measured", "test": name, **{key: measured[name][key] for key in _KEYS}})
    return tests


_KEYS = ("statistic", "df", "p_one_sided_less", "p_two_sided")


def _numbers(outcome: Outcome) -> dict[str, float]:
    return {key: getattr(outcome, key) for key in _KEYS}


def section(beside: Mapping[str, Any]) -> Section:
    """The section of a report on one comparison, from the result of `beside_published`."""
    blocks: list[Any] = [Text(_about(beside)), _values(beside)]
    rows = [
        [arm, test["values"], test["test"], *(f"{test[key]:.3g}" for key in _KEYS)]
        for arm, tests in beside["tests"].items()
        for test in tests
    ]
    if rows:
        heads = ["arm", "values", "test", "statistic", "df", "p one-sided, lower", "p two-sided"]
        text = (
            "The paper's test is Welch's, one-sided, against the reference; from its figures it is computed from the "
            f"rounded means and standard errors. Ours is the two-sided {OUR_TEST} test. None is corrected here."
        )
        blocks += [Text(text), Table(heads, rows)]
    return Section(f"Beside the published figures: {beside['title']}", blocks)


def _about(beside: Mapping[str, Any]) -> str:
    changes = ", ".join(beside["changes"])
    differs = f" These runs differ from that in {changes}." if changes else ""
    return (
        f"{PAPER}: {beside['seeds']} seeds, {beside['steps']:,} steps.{differs} Differences are measured minus "
        "published; intervals are 95 % t intervals (Welch-Satterthwaite) over the seeds of both or, where the "
        "published standard error is not known (*), over ours only."
    )


def _values(beside: Mapping[str, Any]) -> Table:
    subjects = dict(beside["arms"])
    subjects |= {f"{arm} - reference": entry for arm, entry in beside["differences"].items()}
    rows = []
    for name, entry in subjects.items():
        measured = with_error(entry["measured"], entry["measured_standard_error"])
        published = UNKNOWN if entry["published"] is None else f"{entry['published']:.3f}".rstrip("0").rstrip(".")
        star = "" if entry["published"] is None or entry["published_error_known"] else "*"
        cells = format_number(entry["difference"]), format_interval(entry["interval"])
        rows.append([name, measured, f"{published}{star}", *cells])
    return Table(["", "measured", "published", "difference", "interval"], rows)

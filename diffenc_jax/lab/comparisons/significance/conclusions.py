"""Conclusions from the differences between arms, and cautions: one text for files, terminal and page."""

from diffenc_jax.core.numbers import format_interval, format_p
from diffenc_jax.lab.comparisons.compare.describe import average_cautions
from diffenc_jax.lab.comparisons.significance.analysis import FEWEST_SEEDS, Analysis, Comparison, Findings
from diffenc_jax.lab.stats.hypotheses import PAIRED_T
from diffenc_jax.lab.stats.power import ALPHA

LEVEL = f"at the {100 * ALPHA:g} % level"


def conclusions(analysis: Analysis) -> list[str]:
    """A conclusion per comparison.

    A difference is called significant if the main test, corrected for the number of comparisons, rejects at the level
    `ALPHA` over at least `FEWEST_SEEDS` seeds. Among arms of equal models that happens in at most `ALPHA` of the
    analyses, whatever their number.
    """
    count = sum(PAIRED_T in comparison.tests for comparison in analysis.comparisons)
    return [_line(comparison, count) for comparison in analysis.comparisons]


def cautions(findings: Findings) -> list[str]:
    """Sentences that limit the conclusions, if any.

    They say that bits/dim still fell at the end of training by more than arms differ, that seeds share the noise of
    their evaluations, and `average_cautions`.
    """
    analysis, trained = findings.analysis, [part for run in findings.runs for part in run.parts or (run,)]
    fell = []
    for arm, fall in analysis.falls.items():
        means = [c.mean for c in analysis.comparisons if arm in (c.arm, c.reference)]
        if any(mean is not None and fall.bpd > abs(mean) for mean in means):
            fell.append(f"{arm} (by {fall.bpd:.4f} after step {fall.since:,})")
    caution = f"Caution: training is unfinished, bits/dim still fell by more than arms differ: {', '.join(fell)}."
    averages = average_cautions((run.arm, run.config.train, run.config.train.steps) for run in trained)
    shared = "Caution: the seeds share the noise of their evaluations; no error over seeds contains its common effect."
    return [caution] * bool(fell) + [shared] * analysis.noise_common_to_seeds + averages


def _line(comparison: Comparison, count: int) -> str:
    arm, reference, seeds, mean = comparison.arm, comparison.reference, comparison.n, comparison.mean
    if mean is None:
        return f"{arm} against {reference}: no common seed, so no difference is known."
    where = f"{arm} lies {abs(mean):.4f} bits/dim {'below' if mean < 0 else 'above'} {reference}"
    over = f"over {seeds} seed{'s' * (seeds > 1)}, on these images"
    if seeds < FEWEST_SEEDS:
        return f"{where} {over}: too few seeds for a conclusion about other seeds."
    p = comparison.corrected[PAIRED_T]
    shown = "a significant difference" if p < ALPHA else "not significantly different from zero"
    how = f"{PAIRED_T} test, p = {format_p(p)}" + f", corrected for {count} comparisons" * (count > 1)
    uncorrected = ", uncorrected" * (count > 1)
    return f"{where} ({format_interval(comparison.interval)}{uncorrected}) {over}: {shown} {LEVEL} ({how})."

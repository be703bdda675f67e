"""The document of an analysis in sections, and the table of the runs' values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffenc_jax.core.document import Code, Items, Section, Table, Text
from diffenc_jax.core.numbers import UNKNOWN, format_interval, format_number, format_p, with_error
from diffenc_jax.lab.studies.compare.describe import describe_estimator
from diffenc_jax.lab.studies.significance.analysis import (
    ALPHA,
    CORRECTED,
    FEWEST_SEEDS,
    MAIN_TEST,
    POWER,
    Analysis,
    Arm,
    Findings,
    OverSeeds,
)
from diffenc_jax.lab.studies.significance.finished import Cost, FinishedRun
from diffenc_jax.lab.studies.significance.headline import headline

Costs = Mapping[str, Cost]


def document(findings: Findings, costs: Costs, command: str | None, published: Sequence[Section] = ()) -> Section:
    """The whole document; it ends with `command`, which makes the runs, if that is known.

    Args:
      published: sections on what the runs repeat.
    """
    analysis, arms = findings.analysis, {run.arm for run in findings.runs}
    seeds = sorted({run.seed for run in findings.runs})
    count = f"{len(arms)} arm{'s' * (len(arms) > 1)}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    concluded = [Section("Conclusions", [Items(items)])] if (items := headline(analysis).items) else []
    return Section(
        f"{findings.runs[0].config.name}: {count}",
        [
            *(about(findings.runs), *concluded, *analysis_sections(analysis), *published),
            Section("Costs of the arms", [*costs_blocks(analysis, costs), *_changes(analysis)]),
            *(*missing_section(findings), _origin(findings.runs, command)),
        ],
    )


def about(runs: Sequence[FinishedRun]) -> Text:
    """Data and estimator of the values, and the meaning of ± and of the intervals."""
    dataset = runs[0].evaluation.record["dataset"]
    return Text(
        f"Bits/dim of {dataset['num_examples']:,} images ({dataset['name']} {dataset['version']}, {dataset['split']}); "
        f"{_estimators(runs)}. Averaged (EMA) parameters at the last step. ± is one standard "
        "error over seeds; intervals are 95 % t intervals over seeds, not corrected for their number."
    )


def _estimators(runs: Sequence[FinishedRun]) -> str:
    """The estimator of all runs, or 'discrete, depth 10, 8 passes (vdm-T10, diffenc-T10); ...' where arms differ."""
    arms: dict[str, dict[str, None]] = {}
    for run in runs:
        arms.setdefault(describe_estimator(run.evaluation.record["estimator"]), {})[run.arm] = None
    if len(arms) == 1:
        return next(iter(arms))
    return "; ".join(f"{estimator} ({', '.join(names)})" for estimator, names in arms.items())


def analysis_sections(analysis: Analysis) -> list[Section | Text]:
    """Values of the arms, differences between them, tests, variance components, and power."""
    if not analysis.comparisons:
        return [_values(analysis), _variation(analysis)]
    return [_values(analysis), _differences(analysis), _tests(analysis), _variation(analysis), _power(analysis)]


def _values(analysis: Analysis) -> Section:
    arms, common = analysis.arms, analysis.common_seeds
    seeds = sorted({seed for arm in arms.values() for seed in arm.bpd})
    terms = list(next(iter(arms.values())).terms)
    rows = [
        [name, *_by_seed(arm.bpd, seeds), *_mean(arm), *map(format_number, arm.terms.values())]
        for name, arm in arms.items()
    ]
    table = Table(["arm", *(f"seed {seed}" for seed in seeds), "mean", "interval", *terms], rows)
    return Section("Values", [table] if seeds == common else [Text(f"{over_common_seeds(common)}."), table])


def over_common_seeds(common: Sequence[int]) -> str:
    """Sentence that says which seeds the means of the arms are over, where not every arm has every seed."""
    if not common:
        return "The arms have no seed in common, so there are no means to compare"
    return f"Means are over the seeds that all arms have: {', '.join(map(str, common))}"


def _differences(analysis: Analysis) -> Section:
    count, seeds = len(analysis.comparisons), sorted({s for c in analysis.comparisons for s in c.difference})
    rows = []
    for c in analysis.comparisons:
        test = c.tests.get(MAIN_TEST)
        ps = (format_p(p) for p in ((test.p_two_sided, test.holm_p_two_sided) if test else (None, None)))
        rows.append([c.arm, *_by_seed(c.difference, seeds), *_mean(c), *ps])
    heads = ["arm", *(f"seed {seed}" for seed in seeds), "mean", "interval", "p", "p (Holm)"]
    text = (
        "Paired by seed; below zero is better than the reference. p of the two-sided paired t test, and corrected by "
        f"Holm's method for {count} comparison{'s' * (count > 1)}."
    )
    return Section(f"Differences to {analysis.reference}", [Text(text), Table(heads, rows)])


def _tests(analysis: Analysis) -> Section | Text:
    rows = [
        [
            *(comparison.arm, name, f"{test.statistic:.3g}", UNKNOWN if test.df is None else f"{test.df:.3g}"),
            *(format_p(getattr(test, prefix + key)) for key in CORRECTED for prefix in ("", "holm_")),
        ]
        for comparison in analysis.comparisons
        for name, test in comparison.tests.items()
    ]
    if not rows:
        return Text("No tests: they need two seeds that an arm has in common with the reference.")
    heads = ["arm", "test", "statistic", "df", "p two-sided", "(Holm)", "p one-sided, lower", "(Holm)"]
    heads += ["p one-sided, higher", "(Holm)"]
    pairs = max(comparison.n for comparison in analysis.comparisons)
    text = (
        "One-sided: the arm is lower, or higher, than the reference; valid only if the direction was fixed before the "
        f"values were known. With {pairs} pairs no sign-flip test has a two-sided p below "
        f"{format_p(min(1.0, 2 / 2**pairs))}."
    )
    return Section("Tests", [Text(text), Table(heads, rows)])


def _variation(analysis: Analysis) -> Section:
    subjects: dict[str, OverSeeds] = dict(analysis.arms)
    subjects |= {f"{c.arm} - {c.reference}": c for c in analysis.comparisons if c.n}
    rows = []
    for name, subject in subjects.items():
        parts, ends = subject.between_seeds, subject.bootstrap
        spreads = (parts.between, parts.noise, parts.seeds) if parts else [None] * 3
        intervals = (ends.seeds, ends.images, ends.seeds_and_images) if ends else [None] * 3
        rows.append([name, *map(format_number, spreads), *map(format_interval, intervals)])
    heads = ["", "between runs", "from noise", "from seeds", "over seeds", "over images", "over seeds and images"]
    common = " The seeds share the noise of their evaluations; no number here contains its common effect on them."
    text = (
        "Standard deviations of a run's value: in total, from the noise of the evaluation, and from training seeds. "
        "Then 95 % bootstrap intervals of the mean: for other seeds on these images, for these seeds on other images, "
        f"and for other seeds on other images.{common * analysis.noise_common_to_seeds}"
    )
    return Section("Sources of variation", [Text(text), Table(heads, rows)])


def _power(analysis: Analysis) -> Section:
    rows = [
        [c.arm, design, format_number(power.sd), format_number(power.detectable_difference), power.seeds_needed]
        for c in analysis.comparisons
        for design, power in c.power.items()
    ]
    title = "Power of this design"
    if not rows:
        return Section(title, [Text(f"Not estimated: it takes the spread over {FEWEST_SEEDS} seeds or more.")])
    target = analysis.target_difference
    text = (
        f"With a two-sided test at the {100 * ALPHA:g} % level, uncorrected, with probability {100 * POWER:g} %, if "
        "the standard deviations are those of these runs: the smallest difference that is detected, and the number of "
        f"seeds that detect {target:g}. Paired: from the differences by seed; welch: without pairs."
    )
    heads = ["arm", "design", "sd", "smallest difference", f"seeds for {target:g}"]
    return Section(title, [Text(text), Table(heads, rows)])


def costs_blocks(analysis: Analysis, costs: Costs) -> list[Table | Text]:
    """Parameters, steps and costs of each arm."""
    arms, reference = analysis.arms, analysis.reference
    known = reference in arms and reference in costs
    theirs = costs[reference].flops_per_step * arms[reference].step if known else None
    rows = [[name, *_cost(arm, costs.get(name), theirs)] for name, arm in arms.items()]
    heads = ["arm", "parameters", "steps", "GFLOP per step", "TFLOP in total", f"against {reference}"]
    heads += ["ms per step", "MB per step"]
    blocks: list[Table | Text] = [Table(heads, rows)]
    if device := next((cost.device for cost in costs.values()), None):
        blocks.append(Text(f"Measured on {device}; memory is the state and the temporaries of a step."))
    return blocks


def _cost(arm: Arm, cost: Cost | None, theirs: float | None) -> list[str]:
    """Cells of an arm; `theirs` are the FLOPs of the reference's training, if they are known."""
    known = [f"{arm.params:,}", f"{arm.step:,}"]
    if cost is None:
        return known + [UNKNOWN] * 5
    flops = cost.flops_per_step * arm.step
    return [
        *known,
        f"{cost.flops_per_step / 1e9:.4g}",
        f"{flops / 1e12:.4g}",
        UNKNOWN if theirs is None else f"{100 * (flops / theirs - 1):+.1f} %",
        f"{1e3 * cost.seconds_per_step:.4g}",
        f"{cost.memory_per_step / 1e6:.4g}",
    ]


def _changes(analysis: Analysis) -> list[Text | Items]:
    """The keys in which each arm differs from the reference, if there are other arms."""
    changes = {c.arm: ", ".join(f"{key} {value}" for key, value in c.changes.items()) for c in analysis.comparisons}
    if not changes:
        return []
    items = [f"{arm}: {text or 'nothing'}" for arm, text in changes.items()]
    return [Text(f"Differences to the configuration of {analysis.reference}:"), Items(items)]


def missing_section(findings: Findings) -> list[Section]:
    """The missing runs, if any."""
    if not findings.missing:
        return []
    lines, reference = [str(run) for run in findings.missing], findings.analysis.reference
    if reference not in findings.analysis.arms:
        lines.append(f"nothing can be compared yet: the reference {reference} has no finished run")
    return [Section("Missing", [Items(lines)])]


def _origin(runs: Sequence[FinishedRun], command: str | None) -> Section:
    records = [run.evaluation.record for run in runs]
    made = sorted({f"{r['device']}, {', '.join(f'{k} {v}' for k, v in r['software'].items())}" for r in records})
    text = Text(f"Evaluated on {' and on '.join(made)}.")
    return Section("Provenance", [text, Code(command)] if command else [text])


def values_rows(runs: Sequence[FinishedRun], root: Path) -> list[dict[str, Any]]:
    """Rows of values.csv, one per run, unrounded."""
    rows = []
    for run in runs:
        record = run.evaluation.record
        bpd, errors = dict(record["bpd"]), record["standard_error"]
        row = {"arm": run.arm, "seed": run.seed, "step": record["step"], "bpd": bpd.pop("total"), **bpd}
        row |= {f"standard_error_{key}": errors[key] for key in ("noise", "images", "total")}
        rows.append(row | {"config_hash": record["config_hash"], "record": str(run.evaluation.path.relative_to(root))})
    return rows


def mean_and_interval(subject: OverSeeds) -> str:
    """'1.8271 ± 0.0012 (1.8248 .. 1.8294)', for an arm or a comparison."""
    mean, interval = _mean(subject)
    return mean if interval == UNKNOWN else f"{mean} ({interval})"


def _mean(subject: OverSeeds) -> tuple[str, str]:
    """'1.8271 ± 0.0012' and its interval."""
    return with_error(subject.mean, subject.standard_error), format_interval(subject.interval)


def _by_seed(values: Mapping[int, float], seeds: Sequence[int]) -> list[str]:
    return [format_number(values.get(seed)) for seed in seeds]

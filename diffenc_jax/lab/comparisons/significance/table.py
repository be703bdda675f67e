"""The document of an analysis in sections, and the table of the runs' values."""

from collections.abc import Mapping, Sequence
from typing import Any

from diffenc_jax.core.document import Items, Section, Table, Text
from diffenc_jax.core.numbers import UNKNOWN, format_interval, format_number, format_p, with_error
from diffenc_jax.lab.comparisons.compare.describe import describe_estimator
from diffenc_jax.lab.comparisons.significance.analysis import FEWEST_SEEDS, Analysis, Findings, OverSeeds
from diffenc_jax.lab.comparisons.significance.conclusions import cautions, conclusions
from diffenc_jax.lab.comparisons.significance.finished import FinishedRun
from diffenc_jax.lab.costs.load import upper_bounds
from diffenc_jax.lab.stats.hypotheses import PAIRED_T, SIGN_FLIP, WELCH_T
from diffenc_jax.lab.stats.power import ALPHA, POWER

Costs = Mapping[str, Mapping[str, Any]]  # by arm; see `finished.read_costs`


def document(findings: Findings, costs: Costs, published: Sequence[Section] = ()) -> Section:
    """The whole document.

    Args:
      published: sections on what the runs repeat.
    """
    analysis, runs = findings.analysis, findings.runs
    said = [*conclusions(analysis), *cautions(findings)]
    concluded = [Section("Conclusions", [Items(said)])] if said else []
    about_costs = Section("Costs of the arms", [*costs_blocks(analysis, costs), *_changes(analysis)])
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    title = f"{runs[0].config.name}: {', '.join(analysis.arms)}; seeds {seeds}"
    compared = [*concluded, *analysis_sections(analysis), *published]
    return Section(title, [about(runs), *compared, about_costs, *missing_section(findings)])


def about(runs: Sequence[FinishedRun]) -> Text:
    """Data and estimators of the values, and the meaning of ± and of the intervals."""
    dataset = runs[0].evaluation.record["dataset"]
    arms: dict[str, dict[str, None]] = {}
    for run in runs:
        arms.setdefault(describe_estimator(run.evaluation.record["estimator"]), {})[run.arm] = None
    # Arms may differ in their estimators, such as several depths.
    texts = [f"{text} ({', '.join(names)})" if len(arms) > 1 else text for text, names in arms.items()]
    return Text(
        f"Bits/dim of {dataset['num_examples']:,} images ({dataset['name']} {dataset['version']}, {dataset['split']}); "
        f"{'; '.join(texts)}. Averaged (EMA) parameters at the last step. ± is one standard "
        "error over seeds; intervals are 95 % t intervals over seeds, not corrected for their number."
    )


def analysis_sections(analysis: Analysis) -> list[Section]:
    """Values of the arms, differences between them, and tests and power."""
    compared = [_differences(analysis), _tests(analysis)] if analysis.comparisons else []
    return [_values(analysis), *compared]


def _values(analysis: Analysis) -> Section:
    arms, common = analysis.arms, analysis.common_seeds
    table = _by_seed([(name, arm, arm.bpd, arm.terms) for name, arm in arms.items()])
    shared = ", ".join(map(str, common)) or "none, so there are no means to compare"
    text = Text(f"Means are over the seeds that all arms have: {shared}.")
    return Section("Values", [table] if all(sorted(arm.bpd) == common for arm in arms.values()) else [text, table])


def _differences(analysis: Analysis) -> Section:
    table = _by_seed([(c.arm, c, c.difference, {}) for c in analysis.comparisons])
    text = "Paired by seed; below zero is better than the reference."
    return Section(f"Differences to {analysis.reference}", [Text(text), table])


def _by_seed(rows: Sequence[tuple[str, OverSeeds, Mapping[int, float], Mapping[str, float]]]) -> Table:
    """Arms by name: the value of each seed, '1.8271 ± 0.0012' with its interval, and the means of terms."""
    seeds, cells = sorted({seed for _, _, values, _ in rows for seed in values}), []
    for name, over, values, terms in rows:
        mean = with_error(over.mean, over.standard_error), format_interval(over.interval)
        each = [format_number(values.get(seed)) for seed in seeds]
        cells.append([name, *each, *mean, *map(format_number, terms.values())])
    return Table(["arm", *(f"seed {seed}" for seed in seeds), "mean", "interval", *rows[0][-1]], cells)


def _tests(analysis: Analysis) -> Section:
    names, target, rows = (PAIRED_T, SIGN_FLIP, WELCH_T), f"seeds for {analysis.target_difference:g}", []
    for c in analysis.comparisons:
        plain = {name: float(outcome.p_two_sided) for name, outcome in c.tests.items()}
        ps = (format_p(known.get(name)) for name in names for known in (plain, c.corrected))
        rows.append([c.arm, *ps, format_number(c.detectable_difference), c.seeds_needed or UNKNOWN])
    heads = ["arm", *(head for name in names for head in (name, "(Holm)")), "smallest difference", target]
    text = (
        "Two-sided p, and corrected by Holm's method for the number of comparisons; paired t and sign flips are those "
        f"of the differences by seed. Then, from {FEWEST_SEEDS} seeds on, the smallest difference that an uncorrected "
        f"paired t test at the {100 * ALPHA:g} % level detects with probability {100 * POWER:g} %, and the number of "
        f"seeds that detect {analysis.target_difference:g}, if the differences vary as these do."
    )
    return Section("Tests and power", [Text(text), Table(heads, rows)])


def costs_blocks(analysis: Analysis, costs: Costs) -> list[Table | Text]:
    """Parameters, steps and costs of each arm; of a sum, its parameters and total FLOPs are those of all summands."""
    rows, reference = [], analysis.reference
    measured = ((name, arm.steps) for name, arm in analysis.arms.items() if arm.steps.keys() <= costs.keys())
    totals = {name: sum(costs[one]["flops_per_step"] * step for one, step in steps.items()) for name, steps in measured}
    for name, arm in analysis.arms.items():
        cells, steps = [UNKNOWN] * 5, " + ".join(f"{step:,}" for step in arm.steps.values())
        if name in totals:
            ratio = totals[name] / totals[reference] if reference in totals else None
            cells[1:3] = f"{totals[name] / 1e12:.4g}", UNKNOWN if ratio is None else f"{100 * (ratio - 1):+.1f} %"
        if cost := costs.get(name):
            cells[0] = f"{cost['flops_per_step'] / 1e9:.4g}"
            cells[3:] = f"{1e3 * cost['seconds_per_step']:.4g}", f"{cost['memory_per_step'] / 1e6:.4g}"
        rows.append([name, f"{arm.params:,}", steps, *cells])
    heads = ["arm", "parameters", "steps", "GFLOP per step", "TFLOP in total", f"against {reference}"]
    devices = {cost["device"] for cost in costs.values()}
    text = f"Measured on {' and on '.join(sorted(devices))}; memory is the state and the temporaries of a step."
    loaded = upper_bounds({name: cost.get("cpu_share_of_others") for name, cost in costs.items()})
    about = [Text(f"{text} {loaded}".strip())] if devices else []
    return [Table([*heads, "ms per step", "MB per step"], rows), *about]


def _changes(analysis: Analysis) -> list[Text | Items]:
    """The keys in which each arm differs from the reference, if there are other arms; sums are left out."""
    known = {c.arm: c.changes for c in analysis.comparisons if c.changes is not None}
    changes = {arm: ", ".join(f"{key} {value}" for key, value in keys.items()) for arm, keys in known.items()}
    items = Items([f"{arm}: {text or 'nothing'}" for arm, text in changes.items()])
    return [Text(f"Differences to the configuration of {analysis.reference}:"), items] if changes else []


def missing_section(findings: Findings) -> list[Section]:
    """The missing runs, if any."""
    return [Section("Missing", [Items([str(run) for run in findings.missing])])] if findings.missing else []

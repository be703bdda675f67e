"""An analysis, as a document, a table of raw values and JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffenc_jax import tables
from diffenc_jax.compare import describe
from diffenc_jax.document import Code, Items, Section, Table, Text, markdown
from diffenc_jax.errors import InputError
from diffenc_jax.significance.analysis import ALPHA, CORRECTED, POWER
from diffenc_jax.significance.results import Missing, Run
from diffenc_jax.workdir import replace

UNKNOWN = "-"
MAIN_TEST = "paired t"


def page(
    analysis: dict[str, Any],
    runs: list[Run],
    missing: list[Missing],
    costs: dict[str, dict[str, Any]],
    command: str | None,
) -> str:
    """All there is to say, as markdown; `command` makes what it is about, where that is known."""
    blocks = [about(runs), *findings(analysis), arms(analysis, costs)]
    blocks += [*absent(missing, analysis), _origin(runs, command)]
    return markdown(Section(title(runs), blocks)) + "\n"


def findings(analysis: dict[str, Any]) -> list[Section | Text]:
    """What the runs' values say: of each arm, of their differences, of what they vary by."""
    blocks = [_values(analysis)]
    if analysis["comparisons"]:
        blocks += [_differences(analysis), _reading(analysis), _tests(analysis)]
    return [*blocks, _variation(analysis), *_power(analysis)]


def title(runs: list[Run]) -> str:
    """'digits: 3 arms, seeds 0, 1'."""
    arms, seeds = {run.arm for run in runs}, sorted({run.seed for run in runs})
    return f"{runs[0].config.name}: {len(arms)} arm{'s' * (len(arms) > 1)}, seeds {', '.join(map(str, seeds))}"


def about(runs: list[Run]) -> Text:
    """What the values are of, and what the signs mean."""
    record = runs[0].evaluation.record
    dataset = record["dataset"]
    return Text(
        f"Bits/dim of {dataset['num_examples']:,} images ({dataset['name']} {dataset['version']}, {dataset['split']}); "
        f"{describe(record['estimator'])}. Averaged (EMA) parameters at the last step. ± is one standard error over "
        "seeds; intervals are 95 % t intervals over seeds, not corrected for their number."
    )


def _values(analysis: dict[str, Any]) -> Section:
    arms = analysis["arms"]
    seeds = sorted({int(seed) for arm in arms.values() for seed in arm["bpd"]})
    terms = list(next(iter(arms.values()))["terms"])
    rows = [
        [name, *_by_seed(arm["bpd"], seeds), *_mean(arm), *map(_number, arm["terms"].values())]
        for name, arm in arms.items()
    ]
    return Section("Values", [Table(["arm", *(f"seed {seed}" for seed in seeds), "mean", "interval", *terms], rows)])


def _differences(analysis: dict[str, Any]) -> Section:
    comparisons = analysis["comparisons"]
    seeds = sorted({seed for c in comparisons for seed in c["paired_seeds"]})
    rows = []
    for c in comparisons:
        test = c["tests"].get(MAIN_TEST, {})
        ps = (_p(test.get(key)) for key in ("p_two_sided", "holm_p_two_sided"))
        rows.append([c["arm"], *_by_seed(c.get("difference", {}), seeds), *_mean(c), *ps])
    heads = ["arm", *(f"seed {seed}" for seed in seeds), "mean", "interval", "p", "p (Holm)"]
    text = (
        "Paired by seed; below zero is better than the reference. p of the two-sided paired t test, and corrected by "
        f"Holm's method for {len(comparisons)} comparison{'s' * (len(comparisons) > 1)}."
    )
    return Section(f"Differences to {analysis['reference']}", [Text(text), Table(heads, rows)])


def _tests(analysis: dict[str, Any]) -> Section | Text:
    rows = [
        [
            comparison["arm"],
            name,
            *(UNKNOWN if test[key] is None else f"{test[key]:.3g}" for key in ("statistic", "df")),
            *(_p(test[prefix + key]) for key in CORRECTED for prefix in ("", "holm_")),
        ]
        for comparison in analysis["comparisons"]
        for name, test in comparison["tests"].items()
    ]
    if not rows:
        return Text("No tests: they need two seeds that an arm has in common with the reference.")
    heads = ["arm", "test", "statistic", "df", "p two-sided", "(Holm)", "p one-sided, lower", "(Holm)"]
    heads += ["p one-sided, higher", "(Holm)"]
    pairs = max(len(comparison["paired_seeds"]) for comparison in analysis["comparisons"])
    text = (
        "One-sided: of the arm being lower, or higher, than the reference; to be read only where the direction was "
        f"settled before there were values. Of {pairs} pairs, no sign-flip test has a two-sided p below "
        f"{_p(min(1.0, 2 / 2**pairs))}."
    )
    return Section("Tests", [Text(text), Table(heads, rows)])


def _reading(analysis: dict[str, Any]) -> Section:
    return Section("Reading", [Items(reading(analysis))])


def reading(analysis: dict[str, Any]) -> list[str]:
    """A sentence a comparison."""
    return [_sentence(comparison) for comparison in analysis["comparisons"]]


def _sentence(comparison: dict[str, Any]) -> str:
    """What the main test says of a comparison, and no more."""
    arm, reference, test = comparison["arm"], comparison["reference"], comparison["tests"].get(MAIN_TEST)
    if test is None:
        return f"{arm} against {reference}: too few common seeds to say."
    mean, (low, high) = comparison["mean"], comparison["interval"]
    direction = "below" if mean < 0 else "above"
    what = (
        f"{arm} lies {abs(mean):.4f} bits/dim {direction} {reference} ({low:.4f} .. {high:.4f}, uncorrected) on "
        f"average over {comparison['n']} seeds, on these images"
    )
    if test["holm_p_two_sided"] < ALPHA:
        return f"{what}: a difference at the {_percent(ALPHA)} level (corrected p = {_p(test['holm_p_two_sided'])})."
    return (
        f"{what}: not told from zero at the {_percent(ALPHA)} level (corrected p = {_p(test['holm_p_two_sided'])}). "
        "That is no sign that there is no difference; the interval says which ones remain."
    )


def _variation(analysis: dict[str, Any]) -> Section:
    subjects = dict(analysis["arms"])
    subjects |= {f"{c['arm']} - {c['reference']}": c for c in analysis["comparisons"] if "mean" in c}
    rows = []
    for name, subject in subjects.items():
        parts, bootstrap = subject["between_seeds"] or {}, subject["bootstrap"] or {}
        spreads = (_number(parts.get(key)) for key in ("between", "noise", "seeds"))
        ends = (_interval(bootstrap.get(key)) for key in ("seeds", "images", "seeds_and_images"))
        rows.append([name, *spreads, *ends])
    heads = ["", "between runs", "from noise", "from seeds", "over seeds", "over images", "over seeds and images"]
    common = (
        " The seeds were evaluated under one noise: what it does to all of them alike is in none of these figures."
        if analysis["noise_common_to_seeds"]
        else ""
    )
    text = (
        "Standard deviations of a run's value: all, the part that the evaluation's noise has in it, and the rest. Then "
        "95 % bootstrap intervals of the mean: other seeds and these images, these seeds and other images, others of "
        f"both.{common}"
    )
    return Section("What the values vary by", [Text(text), Table(heads, rows)])


def _power(analysis: dict[str, Any]) -> list[Section]:
    matters = analysis["matters"]
    rows = [
        [
            comparison["arm"],
            design,
            *(_number(value["sd"]), _number(value["detectable_difference"])),
            value["seeds_needed"],
        ]
        for comparison in analysis["comparisons"]
        for design, value in comparison.get("power", {}).items()
    ]
    if not rows:
        return []
    text = (
        f"By a two-sided test at the {_percent(ALPHA)} level, uncorrected, with probability {_percent(POWER)}, if the "
        "standard deviations are those seen here: the smallest difference, and the seeds needed for one of "
        f"{matters:g}. Paired: of the differences by seed; welch: without pairs."
    )
    heads = ["arm", "design", "sd", "smallest difference", f"seeds for {matters:g}"]
    return [Section("What this design can show", [Text(text), Table(heads, rows)])]


def arms(analysis: dict[str, Any], costs: dict[str, dict[str, Any]]) -> Section:
    """What each arm costs, and what it has otherwise than the reference."""
    rows = [[name, *_cost(arm, costs.get(name, {}))] for name, arm in analysis["arms"].items()]
    heads = ["arm", "parameters", "steps", "GFLOP a step", "TFLOP in all", "ms a step", "MB a step"]
    blocks = [Table(heads, rows)]
    if device := next((cost["device"] for cost in costs.values()), None):
        blocks.append(Text(f"Measured on {device}; memory is the state and the temporaries of a step."))
    if comparisons := analysis["comparisons"]:
        blocks.append(Text(f"Otherwise than in {analysis['reference']}:"))
        blocks.append(Items([f"{c['arm']}: {_changes(c['changes'])}" for c in comparisons]))
    return Section("What the arms cost", blocks)


def _cost(arm: dict[str, Any], cost: dict[str, Any]) -> list[str]:
    params, steps = arm["params"], f"{arm['step']:,}"
    known = [UNKNOWN if params is None else f"{params:,}", steps]
    if not cost:
        return known + [UNKNOWN] * 4
    flops = cost["flops_per_step"]
    return [
        *known,
        f"{flops / 1e9:.4g}",
        f"{flops * arm['step'] / 1e12:.4g}",
        f"{1e3 * cost['seconds_per_step']:.4g}",
        f"{cost['memory_per_step'] / 1e6:.4g}",
    ]


def _changes(changes: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in changes.items()) or "nothing"


def absent(missing: list[Missing], analysis: dict[str, Any]) -> list[Section]:
    """The runs that are missing, if any are."""
    if not missing:
        return []
    lines = [f"{run.arm}, seed {run.seed}: {run.why}" for run in missing]
    if analysis["reference"] not in analysis["arms"]:
        lines.append(f"so nothing can be compared yet: the reference {analysis['reference']} has no finished run")
    return [Section("Missing", [Items(lines)])]


def _by_seed(values: dict[str, float], seeds: list[int]) -> list[str]:
    return [_number(values.get(str(seed))) for seed in seeds]


def _origin(runs: list[Run], command: str | None) -> Section:
    records = [run.evaluation.record for run in runs]
    made = sorted({f"{r['device']}, {', '.join(f'{k} {v}' for k, v in r['software'].items())}" for r in records})
    text = Text(f"Evaluated on {' and on '.join(made)}.")
    return Section("Made by", [text, Code(command)] if command else [text])


def _mean(subject: dict[str, Any]) -> tuple[str, str]:
    """'1.8271 ± 0.0012' and its interval."""
    if "mean" not in subject:
        return UNKNOWN, UNKNOWN
    error = subject["standard_error"]
    mean = _number(subject["mean"]) + (f" ± {error:.4f}" if error is not None else "")
    return mean, _interval(subject["interval"])


def mean_and_interval(subject: dict[str, Any]) -> str:
    """'1.8271 ± 0.0012 (1.8248 .. 1.8294)', of an arm or a comparison."""
    mean, interval = _mean(subject)
    return mean if interval == UNKNOWN else f"{mean} ({interval})"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


def _p(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def _interval(ends: Sequence[float] | None) -> str:
    return UNKNOWN if ends is None else f"{ends[0]:.4f} .. {ends[1]:.4f}"


def write(root: Path, text: str, content: dict[str, Any], runs: list[Run]) -> None:
    """Writes significance.md, significance.json and values.csv, a row a run.

    Raises:
      InputError: they cannot be written.
    """
    try:
        replace(root / "significance.md", text)
        replace(root / "significance.json", json.dumps(content, indent=1) + "\n")
        tables.write(root / "values.csv", [_raw(run, root) for run in runs])
    except OSError as error:
        raise InputError(f"{error.filename} cannot be written: {error.strerror}; make {root} writable") from error


def _raw(run: Run, root: Path) -> dict[str, Any]:
    record = run.evaluation.record
    terms = {name: value for name, value in record["bpd"].items() if name != "total"}
    errors = {f"standard_error_{key}": record["standard_error"][key] for key in ("noise", "images", "total")}
    return {
        "arm": run.arm,
        "seed": run.seed,
        "step": record["step"],
        "bpd": record["bpd"]["total"],
        **terms,
        **errors,
        "config_hash": record["config_hash"],
        "record": str(run.evaluation.path.relative_to(root)),
    }

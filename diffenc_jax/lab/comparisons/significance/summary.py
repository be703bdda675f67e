"""The summary of a root: conclusions, cautions and tables as one document, for files, terminal and the report."""

import json
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.core.document import Items, Section, Table, Text, markdown
from diffenc_jax.core.numbers import (
    UNKNOWN,
    Figure,
    examples,
    format_interval,
    format_number,
    format_p,
    is_real,
    with_error,
)
from diffenc_jax.lab.comparisons import describe
from diffenc_jax.lab.comparisons.significance.analysis import (
    FEWEST_SEEDS,
    Analysis,
    Comparison,
    Curves,
    analyse,
    curves_of_arms,
    minutes,
)
from diffenc_jax.lab.comparisons.significance.figure import draw_analysis, draw_curves, learning_panels
from diffenc_jax.lab.comparisons.significance.finished import FinishedRun, find_runs, read_costs
from diffenc_jax.lab.comparisons.significance.grid import Grid, read_grid
from diffenc_jax.lab.comparisons.significance.published import beside_published
from diffenc_jax.lab.costs.load import upper_bounds
from diffenc_jax.lab.figures.style import save_figure
from diffenc_jax.lab.stats.hypotheses import PAIRED_T, SIGN_FLIP, WELCH_T
from diffenc_jax.lab.stats.means import Mean
from diffenc_jax.lab.stats.power import ALPHA, POWER
from diffenc_jax.runs.files import MAKE_WRITABLE, write_text, writing
from diffenc_jax.runs.metrics import read_metrics

LEVEL = f"at the {100 * ALPHA:g} % level"
LIMITED = "This describes the arms as trained and evaluated here. Nothing is concluded while the cautions below stand."
Costs = Mapping[str, Mapping[str, Any]]  # by arm; see `finished.read_costs`


def conclusions(analysis: Analysis) -> list[str]:
    """A conclusion per comparison.

    A difference is called significant if there are no `cautions`, and the main test, corrected for the number of
    comparisons, rejects at the level `ALPHA` over at least `FEWEST_SEEDS` seeds. If all arms are equal models, this
    happens in at most `ALPHA` of the analyses, for any number of arms. With cautions, the difference is stated with its
    interval and p, and nothing is concluded.
    """
    comparisons, is_limited = analysis.comparisons, bool(cautions(analysis))
    count = sum(PAIRED_T in comparison.tests for comparison in comparisons)
    where = f"on these {examples(analysis.dataset)}"
    return [_line(comparison, count, where, is_limited) for comparison in comparisons]


def cautions(analysis: Analysis) -> list[str]:
    """Sentences that limit the conclusions, if any.

    They say that bits/dim still fell at the end of training by more than the arms differ, or that seeds share the noise
    of their evaluations. The cautions of `describe` are included.
    """
    runs, fell = analysis.runs, []
    for arm, fall in analysis.falls.items():
        means = [c.mean for c in analysis.comparisons if arm in (c.arm, c.reference)]
        if any(mean is not None and fall.bpd > abs(mean) for mean in means):
            fell.append(f"{arm} (by {fall.bpd:.4f} after step {fall.since:,})")
    text = "training is unfinished, bits/dim still fell by more than arms differ"
    unfinished = describe.caution(text, fell, "raise train.steps")
    averages = describe.average_cautions((run.arm, run.config.train, run.config.train.steps) for run in runs)
    shared = "Caution: the seeds share the noise of their evaluations; no error over seeds contains its common effect."
    named = ((f"{run.arm}, seed {run.seed}", run.evaluation.record, run.config.data.pixel_levels) for run in runs)
    return unfinished + [shared] * analysis.noise_common_to_seeds + averages + describe.value_cautions(named)


def _line(comparison: Comparison, count: int, data: str, is_limited: bool) -> str:
    arm, reference, seeds, mean = comparison.arm, comparison.reference, comparison.n, comparison.mean
    if mean is None:
        return f"{arm} against {reference}: no common seed, so no difference is known."
    where = f"{arm} lies {abs(mean):.4f} bits/dim {'below' if mean < 0 else 'above'} {reference}"
    over = f"over {seeds} seed{'s' * (seeds > 1)}, {data}"
    if seeds < FEWEST_SEEDS:
        return f"{where} {over}: too few seeds for a conclusion about other seeds."
    p = comparison.corrected[PAIRED_T]
    how = f"({PAIRED_T} test, p = {format_p(p)}{f', corrected for {count} comparisons' * (count > 1)})"
    where = f"{where} ({format_interval(comparison.interval)}{', uncorrected' * (count > 1)}) {over}"
    if is_limited:
        return f"{where} {how}. {LIMITED}"
    shown = "a significant difference" if p < ALPHA else "not significantly different from zero"
    return f"{where}: {shown} {LEVEL} {how}."


def document(analysis: Analysis, costs: Costs, curves: Curves, published: Sequence[Section] = ()) -> Section:
    """The whole document.

    Args:
      curves: as by `curves_of_arms`.
      published: sections on the published comparisons that the runs repeat.
    """
    runs, said = analysis.runs, [*conclusions(analysis), *cautions(analysis)]
    concluded = [Section("Conclusions", [Items(said)])] if said else []
    about_costs = Section("Costs of the arms", [*costs_blocks(analysis, costs), *_changes(analysis)])
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    title = f"{runs[0].config.name}: {', '.join(analysis.arms)}; seeds {seeds}"
    compared = [*concluded, *analysis_sections(analysis), *published]
    return Section(title, [*compared, about_costs, *_progress(analysis, curves), *missing_section(analysis)])


def about(runs: Sequence[FinishedRun]) -> Text:
    """Data and estimators of the values, and the meaning of ± and of the intervals."""
    dataset = runs[0].evaluation.record["dataset"]
    arms: dict[str, dict[str, None]] = {}
    for run in runs:
        arms.setdefault(describe.estimator(run.evaluation.record["estimator"]), {})[run.arm] = None
    # Arms may differ in their estimators, such as several depths.
    texts = [f"{text} ({', '.join(names)})" if len(arms) > 1 else text for text, names in arms.items()]
    number = f"{dataset['num_examples']:,} {examples(dataset)}"
    return Text(
        f"Bits/dim of {number} ({dataset['name']} {dataset['version']}, {dataset['split']}); "
        f"{'; '.join(texts)}. Averaged (EMA) parameters at the last step. ± is one standard "
        "error over seeds; intervals are 95 % t intervals over seeds, not corrected for their number."
    )


def analysis_sections(analysis: Analysis) -> list[Section]:
    """Values of the arms, their regrets if the truth is known, differences between arms, and tests and power."""
    compared = [_differences(analysis), _tests(analysis)] if analysis.comparisons else []
    return [_values(analysis), *_regrets(analysis, examples(analysis.dataset)), *compared]


def _values(analysis: Analysis) -> Section:
    arms, common = analysis.arms, analysis.common_seeds
    table = _by_seed([(name, arm, arm.bpd, arm.terms) for name, arm in arms.items()])
    shared = ", ".join(map(str, common)) or "none, so there are no means to compare"
    text = Text(f"Means are over the seeds that all arms have: {shared}.")
    same = all(sorted(arm.bpd) == common for arm in arms.values())
    return Section("Values", [about(analysis.runs), *([] if same else [text]), table])


def _differences(analysis: Analysis) -> Section:
    table = _by_seed([(c.arm, c, c.difference, {}) for c in analysis.comparisons])
    text = "Paired by seed; below zero is better than the reference."
    return Section(f"Differences to {analysis.reference}", [Text(text), table])


def _regrets(analysis: Analysis, data: str) -> list[Section]:
    known = {name: arm.regret for name, arm in analysis.arms.items() if arm.regret}
    table = _by_seed([(name, of, of.bpd, {f"± {data}": of.images}) for name, of in known.items()])
    true = f"which has {format_number(analysis.true_bpd)} on these {data}, paired by {data[:-1]}"
    text = f"Bits/dim above the truth, {true}."
    return [Section("Regret", [Text(text), table])] if known else []


def _by_seed(rows: Sequence[tuple[str, Mean, Mapping[int, float], Mapping[str, float | None]]]) -> Table:
    """Per arm: the value of each seed, the mean '1.8271 ± 0.0012' with its interval, and the means of terms."""
    seeds, cells = sorted({seed for _, _, values, _ in rows for seed in values}), []
    for name, over, values, terms in rows:
        mean = with_error(over.mean, over.standard_error), format_interval(over.interval)
        each = [format_number(values.get(seed)) for seed in seeds]
        cells.append([name, *each, *mean, *map(format_number, terms.values())])
    heads = ["arm", *(f"seed {seed}" for seed in seeds), "mean", "interval"]
    return Table([*heads, *(rows[0][-1] if rows else [])], cells, unit="bits/dim")


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


def _progress(analysis: Analysis, curves: Curves) -> list[Section]:
    """Bits/dim by step, means over the seeds, with the minutes of training in brackets where they are known."""
    columns: dict[str, dict[int, Figure]] = {}
    for arm, kinds in curves.items():
        runs = [run for run in analysis.runs if run.arm == arm]
        paces = [minutes(read_metrics(run.workdir), *_size(run)) for run in runs]
        for step, values in kinds["evaluation"]:
            passed = [pace[step] for pace in paces if step in pace] if all(paces) else []
            form, known = ("{:.4f} ({:.3g})", [np.mean(passed)]) if passed else ("{:.4f}", [])
            columns.setdefault(arm, {})[step] = Figure(form, np.mean(values), *known)
    steps = sorted(set().union(*columns.values()))
    rows = [[Figure("{:,}", step), *(own.get(step, "") for own in columns.values())] for step in steps]
    text = "Means over seeds, and in brackets minutes of training where they are known."
    table = Table(["step", *columns], rows, unit="bits/dim")
    return [Section("Bits/dim during training", [Text(text), table])] if rows else []


def _size(run: FinishedRun) -> tuple[int, int]:
    return run.config.train.batch_size, run.config.train.steps


def costs_blocks(analysis: Analysis, costs: Costs) -> list[Table | Text]:
    """Parameters, steps and costs of each arm."""
    rows, reference, arms = [], analysis.reference, analysis.arms
    totals = {name: costs[name]["flops_per_step"] * arm.steps for name, arm in arms.items() if name in costs}
    for name, arm in arms.items():
        cells = [UNKNOWN] * 5
        if cost := costs.get(name):
            ratio = totals[name] / totals[reference] if reference in totals else None
            cells[:2] = Figure("{:.4g}", cost["flops_per_step"] / 1e9), Figure("{:.4g}", totals[name] / 1e12)
            cells[2] = UNKNOWN if ratio is None else Figure("{:+.1f} %", 100 * (ratio - 1))
            cells[3] = Figure("{:.4g}", 1e3 * cost["seconds_per_step"])
            cells[4] = Figure("{:.4g}", cost["memory_per_step"] / 1e6)
        rows.append([name, Figure("{:,}", arm.params), Figure("{:,}", arm.steps), *cells])
    heads = ["arm", "parameters", "steps", "GFLOP per step", "TFLOP in total", f"against {reference}"]
    devices = {cost["device"] for cost in costs.values()}
    text = f"Measured on {' and on '.join(sorted(devices))}; memory is the state and the temporaries of a step."
    loaded = upper_bounds({name: cost.get("cpu_share_of_others") for name, cost in costs.items()})
    about = [Text(f"{text} {loaded}".strip())] if devices else []
    return [Table([*heads, "ms per step", "MB per step"], rows), *about]


def _changes(analysis: Analysis) -> list[Text | Items]:
    """The keys in which each arm differs from the reference, if there are other arms."""
    changes = {c.arm: ", ".join(f"{key} {value}" for key, value in c.changes.items()) for c in analysis.comparisons}
    items = Items([f"{arm}: {text or 'nothing'}" for arm, text in changes.items()])
    return [Text(f"Differences to the configuration of {analysis.reference}:"), items] if changes else []


def missing_section(analysis: Analysis) -> list[Section]:
    """The missing runs, if any."""
    return [Section("Missing", [Items([str(run) for run in analysis.missing])])] if analysis.missing else []


def write_summary(
    root: Path, reference: str | None, target: float, plugins: Collection[str] = ()
) -> tuple[Section | Text, list[Path]]:
    """Write significance.md, significance.json, and the figures as .png and .pdf.

    An earlier summary is replaced. If the runs repeat a published comparison, the document also has the published
    figures.

    Args:
      root: folder of the runs' workdirs.
      reference: arm with which the others are compared; None: the reference of the grid noted in `root`, or the first
        arm.
      target: see `analyse`.
      plugins: packages whose parts the noted evaluation may name, and which may therefore be imported.

    Returns:
      The document and the files; if no run is finished, a line per missing run and no files.

    Raises:
      InputError: there are no runs, they cannot be compared, or `root` cannot be written to.
    """
    grid = read_grid(root, plugins)
    runs, missing = find_runs(root, grid)
    if not runs:
        return Text("\n".join(map(str, missing))), []
    split = runs[0].evaluation.record["dataset"]["split"]
    curves = curves_of_arms(runs, split)
    analysis = analyse(runs, reference or (grid.reference if grid else None), target, curves, missing)
    costs = read_costs(root, [*analysis.arms])
    published = beside_published(grid, analysis) if grid else []
    page = document(analysis, costs, curves, published)
    title, real = f"{analysis.data}: bits/dim during training", is_real(analysis.dataset)
    figures = {
        "values": draw_analysis(analysis, analysis.data, real),
        "curves": draw_curves(curves, learning_panels(split), title, True, true=analysis.true_bpd, is_real=real),
    }
    files = [root / "significance.md", root / "significance.json"]
    with writing(root, MAKE_WRITABLE):
        write_text(files[0], markdown(page) + "\n")
        write_text(files[1], json.dumps(_content(grid, analysis, costs), indent=1, default=vars) + "\n")
        for name, figure in figures.items():
            files += save_figure(figure, root / name)
    return page, files


def _content(grid: Grid | None, analysis: Analysis, costs: Costs) -> dict[str, Any]:
    """The content of significance.json."""
    content = {"experiment": grid and grid.note()}
    content["headline"] = {"lines": conclusions(analysis), "cautions": cautions(analysis)}
    content |= {name: value for name, value in vars(analysis).items() if name != "runs"}
    return content | {"costs": costs, "software": {name: version(name) for name in ("diffenc_jax", "numpy", "scipy")}}

"""Tables of the results: read off the outputs and files of the commands that `experiments.py` lists."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import peers

from diffenc_jax.core.document import Table
from diffenc_jax.core.numbers import UNKNOWN
from diffenc_jax.lab import studies
from diffenc_jax.lab.comparisons.compare import compare, comparison_table
from diffenc_jax.lab.comparisons.significance.analysis import curves_of_arms
from diffenc_jax.lab.comparisons.significance.finished import FinishedRun, find_runs
from diffenc_jax.lab.comparisons.significance.grid import read_grid
from diffenc_jax.runs.metrics import read_metrics
from diffenc_jax.runs.records import read_evaluation
from diffenc_jax.runs.stored import StoredRun

# From the common folder and the output of a command.
Tables = Callable[[Path, str], Iterable[Table]]


def in_markdown(text: str) -> list[Table]:
    """The tables of a markdown text. The caption of each is the line before it, if that is no heading."""
    tables, line_before, lines = [], "", []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.strip()[1:-1].split("|")])
        elif lines:
            tables.append(Table(lines[0], lines[2:], "" if line_before.startswith("#") else line_before))
            line_before, lines = "", []
        elif line:
            line_before = line
    return tables


def printed(work: Path, output: str) -> list[Table]:
    return in_markdown(output)


def summary(root: str, work: Path, output: str) -> Iterable[Table]:
    """Values, regrets, differences, tests and costs of significance.md, without the seconds and bytes of a step."""
    text = (work / root / "significance.md").read_text()
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")}
    about = text.split("\n\n")[1]
    for title, section in sections.items():
        table = next(iter(in_markdown(section)), Table([], []))
        if title == "Values":
            yield table._replace(caption=about)
        if title == "Regret":
            yield table
        if title.startswith("Differences to "):
            yield table._replace(caption=f"{title}, in bits/dim. {table.caption}")
        if title == "Tests and power" and any(set(row[1:]) != {UNKNOWN} for row in table.rows):  # of several seeds
            yield table
        if title == "Costs of the arms":
            yield Table(table.heads[:6], [row[:6] for row in table.rows])


def summary_and_progress(root: str, work: Path, output: str) -> Iterable[Table]:
    """`summary`, and the evaluations during training by step, means over the seeds, with the minutes of training."""
    yield from summary(root, work, output)
    runs = find_runs(work / root, read_grid(work / root))[0]
    curves = curves_of_arms(runs, runs[0].config.eval.split)
    columns = []
    for arm, kinds in curves.items():
        pace = [minutes(run) for run in runs if run.arm == arm]
        means = ((step, np.mean(bits), np.mean([each[step] for each in pace])) for step, bits in kinds["evaluation"])
        columns.append({step: f"{mean:.4f} ({passed:.3g})" for step, mean, passed in means})
    rows = [[f"{step:,}", *(own.get(step, "") for own in columns)] for step in sorted(set().union(*columns))]
    about = "Test bits/dim during training, means over seeds, and in brackets minutes of training"
    yield Table(["step", *curves], rows, about)


def minutes(run: FinishedRun) -> dict[int, float]:
    """Minutes of training by logged step and until the end, without those of evaluations."""
    pace = [(row["step"], row["images_per_second"]) for row in read_metrics(run.workdir) if "images_per_second" in row]
    steps, rates = np.transpose([*pace, (run.config.train.steps, pace[-1][1])])  # the last step need not be logged
    passed = np.cumsum(np.diff(steps, prepend=0) * run.config.train.batch_size / rates) / 60
    return dict(zip(steps.astype(int).tolist(), passed.tolist(), strict=True))


def evaluations(run: str, depth: int | None = None, **passes: int) -> Tables:
    """The evaluations of a run at its last step side by side: by kind of estimator, those with so many passes.

    Differences are to the first one. Bounds are those of one `depth`.
    """

    def tables(work, output):
        found = [read_evaluation(path) for path in StoredRun(work / run).record_paths()]
        last = max(evaluation.record["step"] for evaluation in found)
        chosen = [
            evaluation
            for kind, number in passes.items()
            for evaluation in found
            if evaluation.record["step"] == last
            and (estimator := evaluation.record["estimator"])["passes"] == number
            and (estimator["kind"], estimator.get("depth") if kind == "bound" else depth) == (kind, depth)
        ]
        yield comparison_table(compare(chosen))

    return tables


def study(name: str, run: str, work: Path, output: str) -> list[Table]:
    """The tables of a study's last result."""
    known = studies.load(name)
    return known.tables([known.read(known.newest(work / run, "test"))])


def parity(work: Path, output: str) -> Iterable[Table]:
    """Largest relative error per quantity and file."""
    by_file: dict[str, dict[str, str]] = {}
    for line in output.splitlines():
        if line.endswith(".npz"):
            errors = by_file.setdefault(Path(line).stem, {})
        elif found := re.match(r"  (\S+) +(\d\S*)", line):
            errors[found[1]] = found[2]
    names = dict.fromkeys(name for errors in by_file.values() for name in errors)
    yield Table(["", *by_file], [[name, *(errors.get(name, "") for errors in by_file.values())] for name in names])


def measured(file: str, label: str, columns: dict[str, tuple[str, float]]) -> Tables:
    """Medians over the records of a benchmark in a file of JSON lines.

    Args:
      label: format of a row's name, from a record; records of one name share a row.
      columns: by head, a record's key and its unit.
    """

    def tables(work, output):
        groups: dict[str, list[dict[str, Any]]] = {}
        for record in json_lines(work / file):
            groups.setdefault(label.format(**record), []).append(record)
        rows = [
            [name, len(group), *(f"{np.median([r[key] for r in group]) / unit:.3g}" for key, unit in columns.values())]
            for name, group in groups.items()
        ]
        yield Table(["", "runs", *columns], rows)

    return tables


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def beside_published(work: Path, output: str) -> Iterable[Table]:
    """Medians and ratios of benchmarks/peers.py, and the load of the machine, by the file that it wrote."""
    pairs = json_lines(work / "peers.jsonl")
    rows = [row for pair in pairs for row in peers.table_rows(pair["pair"], pair["rounds"], pair["ratios"])]
    loads = [side["load_average"] for pair in pairs for sides in pair["rounds"] for side in sides.values()]
    caption = f"Load average of the machine {min(loads):.1f} to {max(loads):.1f}"
    yield Table(["", "published", "ours", "ratio", "range of the ratio"], rows, caption)


# Rows of `on_a_device`: (key, unit) by name.
MOVED = {"GB moved": ("bytes_moved", 1e9)}
COMPILED = {"tpu": {"million cycles": ("cycles", 1e6)}, "gpu": {"kernels": ("kernels", 1)}}
COMMON = {"temporaries, GiB": ("memory_of_temporaries", 2**30), "TFLOP": ("flops", 1e12)}


def on_a_device(kind: str, arm: str, work: Path, output: str) -> Iterable[Table]:
    """A step of an arm by the published code and by this one on a TPU chip or a GPU, by its compiler."""
    published = "published_tpu.jsonl" if kind == "tpu" else f"published_{kind}-{arm}.jsonl"
    theirs = json_lines(work / published)[-1]
    ours = [json.loads((work / f"{kind}-{arm}-{dtype}.json").read_text()) for dtype in ("float32", "bfloat16")]
    rows = [
        [name, *(f"{found[key] / unit:.{4 if key == 'kernels' else 3}g}" for found in (theirs, *ours))]
        for name, (key, unit) in (MOVED | COMPILED[kind] | COMMON).items()
    ]
    heads = ["published, float32", "ours, float32", "ours, bfloat16"]
    yield Table([f"`{arm}`, {theirs['batch_size']} images", *heads], rows)

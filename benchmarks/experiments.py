"""The experiments whose tables are in docs/results-*.md; `results.py` runs them."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peers

from diffenc_jax.display.document import Table
from diffenc_jax.runs.records import read_evaluation
from diffenc_jax.studies.compare.measure import compare
from diffenc_jax.studies.compare.table import comparison_table
from diffenc_jax.studies.depth import table as depth
from diffenc_jax.studies.encoder import balance
from diffenc_jax.studies.encoder.table import bounds_table, read_bounds
from diffenc_jax.studies.sample_quality.table import quality_table

# From the common folder and the output of a command.
Tables = Callable[[Path, str], Iterable[Table]]


class Step(NamedTuple):
    """A command and the tables that are read off its output and files, once it has ended.

    Attributes:
      sources: files of text in the common folder that are kept with the tables, since they are not rounded.
      times: how often the command is run.
    """

    command: str
    tables: Tables = lambda work, output: ()
    sources: Sequence[str] = ()
    times: int = 1


class Experiment(NamedTuple):
    """Steps that follow each other in the common folder, and the minutes that they take on two cores."""

    steps: Sequence[Step]
    minutes: int


def in_markdown(text: str) -> list[Table]:
    """The tables of a markdown text. The caption of each is the line before it, if that is no heading."""
    tables, line_before, lines = [], "", []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.strip("| ").split("|")])
        elif lines:
            tables.append(Table(lines[0], lines[2:], "" if line_before.startswith("#") else line_before))
            line_before, lines = "", []
        elif line:
            line_before = line
    return tables


def printed(work: Path, output: str) -> list[Table]:
    return in_markdown(output)


def summary(root: str, work: Path, output: str) -> Iterable[Table]:
    """Values, differences and costs of significance.md, without the seconds and bytes of a step."""
    text = (work / root / "significance.md").read_text()
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")}
    about = text.split("\n\n")[1]
    for title, section in sections.items():
        if title == "Values":
            yield in_markdown(section)[0]._replace(caption=about)
        if title.startswith("Differences to "):
            table = in_markdown(section)[0]
            yield table._replace(caption=f"{title}, in bits/dim. {table.caption}")
        if title == "Costs of the arms":
            heads, rows, _ = in_markdown(section)[0]
            yield Table(heads[:6], [row[:6] for row in rows])


def significance(config: str, root: str, flags: str, minutes: int, finals: Sequence[str] = ()) -> Experiment:
    """Arms by seeds, and further evaluations of the same runs, each by the flags of one of `finals`."""
    command = f"diffenc significance --config={config} --root={root} {flags}"
    source = [f"{root}/significance.json"]
    return Experiment(
        [Step(f"{command} {more}".strip(), partial(summary, root), source) for more in ("", *finals)], minutes
    )


def evaluations(*patterns: str) -> Tables:
    """The evaluations whose records match, side by side; differences are to the first."""

    def tables(work, output):
        paths = [path for pattern in patterns for path in sorted(work.glob(pattern))]
        yield comparison_table(compare([read_evaluation(path) for path in paths]))

    return tables


def depths(run: str, work: Path, output: str) -> list[Table]:
    (path,) = (work / run / depth.FOLDER).glob("*.csv")
    return depth.depth_tables(depth.read_table(path), Path(run).name)


def encoder(run: str, work: Path, output: str) -> Iterable[Table]:
    (bounds,), (price,) = ((work / run / "encoder_study").glob(f"*-{name}.json") for name in ("off", "price"))
    found = balance.read_balance(price)
    yield from (bounds_table(read_bounds(bounds)), balance.price_table(found), balance.ends_table(found))


def quality(samples: str, work: Path, output: str) -> list[Table]:
    return [quality_table(json.loads((work / samples).read_text()))]


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
        yield Table(["", "processes", *columns], rows)

    return tables


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def beside_published(work: Path, output: str) -> Iterable[Table]:
    """Medians and ratios of benchmarks/peers.py, and the load of the machine."""
    pairs = json_lines(work / "peers.jsonl")
    rows = [row for pair in pairs for row in peers.table_rows(pair["pair"], pair["rounds"], pair["ratios"])]
    loads = [side["load_average"] for pair in pairs for sides in pair["rounds"] for side in sides.values()]
    caption = f"Load average of the machine {min(loads):.1f} to {max(loads):.1f}"
    yield Table(["", "published", "ours", "ratio", "range of the ratio"], rows, caption)


FASHION = "--config.data.source=/usr/share/datasets/fashion-mnist"
BEST = "--config.loss.times=optimal --config.loss.variance_ratio=optimal_estimate"
ARMS = "--arms=vdm,diffenc,nontrainable,vdm-params,vdm-flops"
VDM, DIFFENC = "runs/digits/vdm-seed0", "runs/digits/diffenc-seed0"
EVAL = f"diffenc eval --config=digits:vdm --workdir={VDM}"
SMALL = "--config.train.batch_size=16 --config.model.score.width=32 --config.model.score.layers=4"
MODELS = (  # of benchmarks/train_step.py
    "cifar10:diffenc-8-2 --config.train.batch_size=8",
    "cifar10:vdm-8 --config.train.batch_size=8",
    f"cifar10:diffenc-8-2 {SMALL} --config.model.encoder.width=32",
    f"cifar10:vdm-8 {SMALL}",
)
REFERENCE = ("vdm", "nontrainable", "trainable", "trainable_learned_schedule", "multires")
STEP = {
    "step, s": ("step_seconds", 1),
    "trace, s": ("trace_seconds", 1),
    "compile, s": ("compile_seconds", 1),
    "peak memory, GB": ("peak_bytes", 1e9),
    "GFLOP per step": ("flops_per_step", 1e9),
}
INFERENCE = {
    "forward in training, ms": ("forward_seconds", 1e-3),
    "evaluation of a batch by it": ("evaluation_share", 1),
    "step of sampling by it": ("sampling_share", 1),
}
EXPERIMENTS = {
    "digits": significance("digits", "runs/digits", f"--seeds=0-4 {ARMS} --passes=64 --parallel=2", 90),
    "fashion": significance("fashion_mnist_small", "runs/fashion", f"--seeds=0-2 {ARMS} --passes=4 {FASHION}", 300),
    "encoders": significance(
        "digits",
        "runs/encoders",
        "--seeds=0-2 --arms=diffenc,diffenc-transformer,diffenc-dct --passes=32 --parallel=2",
        30,
    ),
    "processes": significance(
        "digits",
        "runs/processes",
        "--seeds=0-2 --arms=vdm-matched,vdm-polynomial-matched,vdm-mulan-matched,diffenc-matched,"
        "diffenc-image-matched,diffenc-affine --passes=64 --parallel=2",
        60,
    ),
    "few-steps": significance(
        "digits",
        "runs/few-steps",
        "--seeds=0-2 --arms=vdm-T10,vdm-flops-T10,vdm-schedule-T10,diffenc-T10,diffenc-residual-T10,diffenc-dct-T10 "
        "--passes=32 --parallel=2",
        50,
        ["--final=loss.variance_ratio=optimal_pixel"],
    ),
    "noise-end": significance(
        "digits",
        "runs/noise-end",
        "--seeds=0-2 --arms=vdm,diffenc-dct,diffenc --passes=32 --config.model.schedule.gamma_max=2 --parallel=2",
        30,
    ),
    "depth": Experiment(
        [
            Step(f"diffenc depth-study {run} --depths=5,10,20,50,100 --passes=32", partial(depths, run))
            for run in (VDM, DIFFENC)
        ],
        30,
    ),
    "estimators": Experiment(
        [
            *(
                Step(
                    f"{EVAL} --config.eval.passes=2 --config.loss.depth=100 "
                    f"--config.eval.estimator=importance_weighted --config.eval.num_draws={draws}"
                )
                for draws in (1, 4, 16)
            ),
            Step(
                f"{EVAL} --config.eval.passes=2 --config.eval.estimator=ode --config.ode.rtol=1e-3",
                evaluations(
                    f"{VDM}/eval/*-continuous-*.json", f"{VDM}/eval/*-importance*.json", f"{VDM}/eval/*-ode-*.json"
                ),
            ),
        ],
        20,
    ),
    "encoder": Experiment([Step(f"diffenc encoder-study {DIFFENC}", partial(encoder, DIFFENC))], 5),
    "samples": Experiment(
        [
            Step(f"diffenc sample --config=digits --workdir={DIFFENC} --config.sample.num=1000"),
            Step(
                f"diffenc sample-quality {DIFFENC}/samples/1500-depth250-seed0.npz",
                partial(quality, f"{DIFFENC}/samples/1500-depth250-seed0-quality.json"),
            ),
        ],
        5,
    ),
    "compression": Experiment(
        [
            Step(f"{EVAL} --config.loss.depth=50 {BEST} --config.eval.passes=64"),
            Step(
                f"{EVAL} --config.loss.depth=50 {BEST} --config.eval.passes=8 --config.eval.estimator=code_length",
                evaluations(f"{VDM}/eval/*-code*.json", f"{VDM}/eval/*-discrete*.json"),
            ),
            Step(f"python benchmarks/compression.py {VDM} --images=297 --config.loss.depth=50 {BEST}", printed),
            Step(
                "python benchmarks/compression.py runs/fashion/vdm-seed0 --images=200 --config.loss.depth=50 "
                f"--config.compress.batch_size=8 {BEST}",
                printed,
            ),
        ],
        20,
    ),
    "precision": Experiment([Step(f"python benchmarks/precision.py {VDM} {DIFFENC}", printed)], 10),
    "speed": Experiment(
        [
            *(Step(f"python benchmarks/train_step.py --config={m} --json=steps.jsonl", times=3) for m in MODELS[:-1]),
            Step(
                f"python benchmarks/train_step.py --config={MODELS[-1]} --json=steps.jsonl",
                measured("steps.jsonl", "`{arm}`, {params:,} parameters, batch {batch_size}", STEP),
                times=3,
            ),
        ],
        20,
    ),
    "peers": Experiment(
        [Step("python benchmarks/peers.py --diffenc=DiffEnc --json=peers.jsonl", beside_published, ["peers.jsonl"])], 20
    ),
    "tpu": Experiment(
        [
            Step(f"python benchmarks/tpu_compile.py --out=tpu --only={part}", printed)
            for part in ("searched", "shipped", "scaling", "chips", "choices")
        ],
        120,
    ),
    "inference": Experiment(
        [
            Step("python benchmarks/inference.py --config=digits --json=inference.jsonl"),
            Step(
                "python benchmarks/inference.py --config=digits:vdm --json=inference.jsonl",
                measured("inference.jsonl", "`{config}:{arm}`", INFERENCE),
            ),
        ],
        5,
    ),
    "time-to-quality": Experiment(
        [Step("python benchmarks/time_to_quality.py --config=digits --out=quality", printed)], 60
    ),
    "parity": Experiment(
        [Step("diffenc parity " + " ".join(f"reference/{name}.npz" for name in REFERENCE), parity)], 2
    ),
    "seed-statistics": Experiment([Step("python benchmarks/seed_statistics.py", printed)], 10),
}


def overview(measured: dict[str, list[dict[str, Any]]]) -> Table:
    """The README's table: the main figures, and what they were measured on."""

    def cell(name, row, head, table=0, step=-1):
        """A cell of one of an experiment's tables, by the text that begins its row and the head of its column."""
        found = measured[name][step]["tables"][table]
        return next(line for line in found["rows"] if line[0].startswith(row))[found["heads"].index(head)]

    def values(name):
        return ", ".join(f"`{arm}` {cell(name, arm, 'mean')}" for arm in ("vdm", "diffenc", "nontrainable"))

    def ratio(pair, quantity):
        return cell("peers", f"{pair}: {quantity}", "ratio")

    figures = measured["parity"][0]["tables"][0]
    bits = max(float(value) for row in figures["rows"] if row[0] == "bpd" for value in row[1:])
    tpu = [f"`{model}` {cell('tpu', f'`cifar10:{model}`', 'ms by FLOPs', step=0)}" for model in ("vdm", "diffenc")]
    costs = ", ".join(
        f"`{pair}` {ratio(pair, 'step, s')} of its step time and {ratio(pair, 'peak memory')} of its memory"
        for pair in ("diffenc-8-2", "vdm-8")
    )
    return Table(
        ["", "", "measured on"],
        [
            ["CIFAR-10, ImageNet at the published size", "**not trained here**", "commands and costs are prepared"],
            ["Fashion-MNIST, small networks, 3 seeds, bits/dim", values("fashion"), "trained on two CPU cores"],
            ["8x8 digits, 5 seeds, bits/dim", values("digits"), "trained on two CPU cores"],
            [
                "Relative error of bits/dim against the published code",
                f"{bits:.0e} at most",
                "arrays of the published code",
            ],
            ["Cost of a training step beside the published code", costs, "two CPU cores, in turn"],
            ["A step of four TPU v5e chips, batch 128, ms by its FLOPs", ", ".join(tpu), "compiled, **not run**"],
        ],
    )

"""Where the numbers come from: images, software, machines, hashes and seeds; and the commands that make them again."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffenc_jax import depth_study, loss_by_time
from diffenc_jax.compare import UNKNOWN
from diffenc_jax.config import config_hash
from diffenc_jax.document import Code, Section, Table, Text
from diffenc_jax.encoder_study import table as encoder_table
from diffenc_jax.report import commands
from diffenc_jax.report.collect import Collection, Run


def section(collection: Collection) -> Section:
    """Data, runs and software."""
    blocks = [_runs(collection)]
    records = [record.record for run in collection.runs for record in run.newest]
    if records:
        blocks += [_data(records), _software(collection)]
    else:
        blocks.append(Text("Nothing is evaluated yet, and images and software are noted when it is."))
    return Section("Provenance", blocks)


def _runs(collection: Collection) -> Table:
    rows = []
    for run in collection.runs:
        seeds = [str(record.record["estimator"]["seed"]) for record in run.newest]
        hashes = dict.fromkeys([config_hash(run.config), *(r.record.get("config_hash", UNKNOWN) for r in run.newest)])
        steps = f"{run.step:,} of {run.config.train.steps:,}"
        rows.append([run.title, steps, ", ".join(dict.fromkeys(seeds)) or UNKNOWN, ", ".join(hashes), str(run.workdir)])
    return Table(["run", "step", "evaluation's seed", "configuration's hash", "workdir"], rows, "Runs")


def _data(records: list[dict[str, Any]]) -> Table:
    """The images that were evaluated, a column a split."""
    splits = {record["dataset"]["split"]: record["dataset"] for record in records}
    rows = {
        "name, version": lambda data: f"{data['name']} {data['version']}",
        "known as": lambda data: data["known_as"]["as"] if data["known_as"] else "no well-known set",
        "number": lambda data: f"{data['num_examples']:,} images of {data['dims']:,} values",
        "sha256": lambda data: data["sha256"],
        "sha256 in any order": lambda data: data["sha256_any_order"],
    }
    cells = [[what, *map(told, splits.values())] for what, told in rows.items()]
    return Table(["", *splits], cells, "Images evaluated on")


def _software(collection: Collection) -> Table:
    """What the newest records were made with; several versions of a thing with the runs that had them."""
    found: dict[str, dict[str, list[str]]] = {}
    for run in collection.runs:
        for record in (record.record for record in run.newest):
            for name, value in {"device": record["device"], **record["software"]}.items():
                found.setdefault(name, {}).setdefault(str(value), []).append(run.title)
    rows = [[name, _versions(values)] for name, values in found.items()]
    return Table(["", "version"], [*rows, ["this page", f"diffenc_jax {version('diffenc_jax')}"]], "Made with")


def _versions(values: dict[str, list[str]]) -> str:
    """'2.4.6', or '2.4.6 (vdm, seed 0); 2.4.7 (vdm, seed 1)'."""
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{value} ({', '.join(dict.fromkeys(runs))})" for value, runs in values.items())


def reproduce(collection: Collection, places: list[Path], out: Path) -> Section:
    """The commands that make all that the page shows, in their order."""
    blocks: list[Any] = []
    if collection.experiment is not None:
        blocks += [Text("All runs, their evaluations and what they are worth:")]
        blocks.append(Code(commands.over_seeds(collection)))
    else:
        blocks += [Text("The runs, each trained, evaluated and sampled from:")]
        blocks.append(Code("\n".join(commands.train(run) for run in collection.runs)))
        for run in collection.runs:
            if differ := commands.configuration(run)[1]:
                blocks.append(Text(_lacking(run, differ)))
        again = [(run, record) for run in collection.runs for record in run.newest if commands.differs(run, record)]
        if again:
            blocks.append(Text("Evaluations that are made otherwise than the runs' configurations say:"))
            blocks.append(Code("\n".join(commands.evaluate(run, record) for run, record in again)))
    if lines := _studies(collection):
        blocks += [Text("What else was looked at:"), Code("\n".join(lines))]
    blocks += [Text("This page:"), Code(commands.of_package("report", *places, f"--out={out}"))]
    return Section("Commands that make all this", blocks)


def _lacking(run: Run, differ: list[str]) -> str:
    if len(differ) > 20:
        return (
            f"The configuration of {run.title} is {run.workdir / 'config.json'}; configs/{run.config.name}.py, from "
            "which the command takes it, is not at hand here, and may be another."
        )
    return f"Not told by the command of {run.title}, so that the file must say it: {', '.join(differ)}."


def _studies(collection: Collection) -> list[str]:
    """A command for each study that has left something."""
    lines = []
    if looked := [run.workdir for run in collection.runs if (run.workdir / loss_by_time.FOLDER).is_dir()]:
        lines.append(commands.of_package("loss_by_time", *looked))
    for folder in (depth_study.FOLDER, encoder_table.FOLDER):
        there = (run.workdir for run in collection.runs if (run.workdir / folder).is_dir())
        lines += [commands.of_package(folder, place) for place in there]
    return lines

"""Origin of the numbers: images, software, devices, hashes and seeds, and the commands that reproduce them."""

import shlex
from collections.abc import Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from diffenc_jax.core import versions
from diffenc_jax.core.document import Code, Items, Section, Table, Text
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.numbers import UNKNOWN
from diffenc_jax.lab.report.collect import Collection, Run
from diffenc_jax.lab.report.command_lines import command_line, config_flags, run_line
from diffenc_jax.runs.history import noted_commands
from diffenc_jax.runs.workdir import stored_origin


def provenance_section(collection: Collection) -> Section:
    """Runs, images and software."""
    blocks: list[Any] = [_runs(collection)]
    pairs = [(run, *pair) for run in collection.runs for pair in pairwise(stored_origin(run.workdir).environments)]
    if changes := [f"{run.title}, went on {versions.changes(before, after)}." for run, before, after in pairs]:
        blocks.append(Items(changes))
    if records := [record.record for run in collection.runs for record in run.newest]:
        blocks += [_data(records), _software(collection)]
    else:
        blocks.append(Text("No run is evaluated yet; an evaluation records images and software."))
    return Section("Provenance", blocks)


def _runs(collection: Collection) -> Table:
    rows = []
    for run in collection.runs:
        records = [record.record for record in run.newest]
        seeds = dict.fromkeys(str(record["estimator"]["seed"]) for record in records)
        hashes = dict.fromkeys([run.config.hash, *(record["config_hash"] for record in records)])
        steps = f"{run.step:,} of {run.config.train.steps:,}"
        rows.append([run.title, steps, ", ".join(seeds) or UNKNOWN, ", ".join(hashes), str(run.workdir)])
    return Table(["run", "step", "evaluation's seed", "configuration's hash", "workdir"], rows, "Runs")


def _data(records: Sequence[dict[str, Any]]) -> Table:
    """The evaluated images, with a column per split."""
    splits = {record["dataset"]["split"]: record["dataset"] for record in records}
    formats = {
        "name, version": lambda data: f"{data['name']} {data['version']}",
        "known as": lambda data: data["known_as"]["as"] if data["known_as"] else "no well-known set",
        "number": lambda data: f"{data['num_examples']:,} images of {data['dims']:,} values",
        "sha256": lambda data: data["sha256"],
        "sha256 in any order": lambda data: data["sha256_any_order"],
    }
    rows = [[what, *map(form, splits.values())] for what, form in formats.items()]
    return Table(["", *splits], rows, "Images evaluated on")


def _software(collection: Collection) -> Table:
    """Device and software of the newest records; where they differ, '2.4 (vdm, seed 0); 2.5 (vdm, seed 1)'."""
    runs_by: dict[str, dict[str, list[str]]] = {}
    for run in collection.runs:
        for record in (record.record for record in run.newest):
            for name, value in {"device": record["device"], **record["software"], **record["parts"]}.items():
                runs_by.setdefault(name, {}).setdefault(str(value), []).append(run.title)
    rows = []
    for name, values in runs_by.items():
        named = [f"{value} ({', '.join(dict.fromkeys(runs))})" for value, runs in values.items()]
        rows.append([name, "; ".join(named) if len(named) > 1 else next(iter(values))])
    return Table(["", "version"], [*rows, ["this page", f"{versions.OURS} {versions.package_version()}"]], "Made with")


def commands_section(collection: Collection, places: Sequence[Path], out: Path) -> Section:
    """The commands that made everything on the page, in their order, as they are noted in the workdirs."""
    commands: dict[str, list[str]] = {}
    notes: list[str] = []
    grid, root = collection.grid, collection.root
    if grid is not None and root is not None:
        commands["All runs, their evaluations and their comparison:"] = _noted(root, notes) or [grid.command(root)]
    made_by_grid = {line for run in collection.runs for line in _grid_lines(collection, run)}
    noted = {run.workdir: _noted(run.workdir, notes) for run in collection.runs}
    # The first commands of all workdirs precede the second ones, which may read several workdirs.
    in_turn = dict.fromkeys(line for turn in zip_longest(*noted.values()) for line in turn if line is not None)
    commands["As they were run:"] = [line for line in in_turn if line not in made_by_grid]
    without = [run for run in collection.runs if not noted[run.workdir] and grid is None]
    commands["The runs, each with training, evaluation and samples:"] = [run_line("train", run) for run in without]
    notes += [caution for run in without if (caution := config_flags(run)[1])]
    commands["This page:"] = [command_line("report", *places, f"--out={out}")]
    blocks = [b for text, lines in commands.items() if lines for b in (Text(text), Code("\n".join(lines)))]
    return Section("Commands that reproduce this page", [*blocks, *map(Text, notes)])


def _noted(folder: Path, notes: list[str]) -> list[str]:
    """The commands that are noted in a folder; a note if they cannot be read."""
    try:
        return noted_commands(folder)
    except InputError as error:
        notes.append(str(error))
        return []


def _grid_lines(collection: Collection, run: Run) -> list[str]:
    """The commands that a significance study has run for `run`."""
    grid, root, key = collection.grid, collection.root, (run.config.arm, run.config.seed)
    if grid is None or root is None or key not in grid.runs():
        return []
    return [shlex.join(["python", *command]) for command in grid.run_commands(root, *key)]

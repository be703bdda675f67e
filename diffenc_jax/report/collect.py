"""What workdirs hold, as plain data; what cannot be read is noted, and the rest is taken."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from diffenc_jax import compare, loss_by_time, workdir
from diffenc_jax.compare import Evaluation
from diffenc_jax.config import check_plain, check_sections, flatten, require
from diffenc_jax.errors import InputError, first_line
from diffenc_jax.significance import experiment
from diffenc_jax.significance.experiment import Experiment
from diffenc_jax.stats.uncertainty import StandardErrors

# What a configuration must hold, besides all its sections, for a page to be made of it.
NEEDED = {
    "name": str,
    "arm": str,
    "model.encoder.kind": str,
    "data.source": str,
    "data.levels": int,
    "train.steps": int,
    "eval.split": str,
    "eval.estimator": str,
}


class Record(NamedTuple):
    """An evaluation's record, and the evaluation itself where the values beside it can be read."""

    path: Path
    record: dict[str, Any]
    evaluation: Evaluation | None

    @property
    def step(self) -> int:
        return self.record["step"]


@dataclass(frozen=True)
class Run:
    """A workdir.

    Attributes:
      workdir: where it is.
      config: what it is a run of.
      metrics: the objects of metrics.jsonl.
      records: of eval/, by step and name.
      notes: what there could not be read, a line each.
    """

    workdir: Path
    config: ConfigDict
    metrics: list[workdir.Row]
    records: list[Record]
    notes: list[str] = field(default_factory=list)

    @property
    def step(self) -> int:
        """The last one that there is a record of, or else anything."""
        steps = [record.step for record in self.records] or [row["step"] for row in self.metrics]
        return int(max(steps, default=0))

    @property
    def newest(self) -> list[Record]:
        """The records of that step."""
        return [record for record in self.records if record.step == self.step]

    @property
    def title(self) -> str:
        """'vdm, seed 0'."""
        return f"{self.config.arm}, seed {self.config.seed}"


@dataclass(frozen=True)
class Collection:
    """What a page is about.

    Attributes:
      runs: in the order given, those of a root by arm.
      root: the folder of significance over seeds, if the runs are its and no others.
      experiment: that is noted there.
      notes: what could not be read.
    """

    runs: list[Run]
    root: Path | None = None
    experiment: Experiment | None = None

    @property
    def notes(self) -> list[str]:
        return [note for run in self.runs for note in run.notes]

    @cached_property
    def names(self) -> dict[Path, str]:
        """What tells the runs apart, by workdir."""
        names = loss_by_time.names(self.runs)
        return {run.workdir: name for run, name in zip(self.runs, names, strict=True)}

    def name_of(self, evaluation: Evaluation) -> str:
        """Of the run that it is of, the workdir of which holds it in eval/."""
        return self.names[evaluation.path.parent.parent]

    @property
    def by_arm(self) -> dict[str, list[Run]]:
        arms: dict[str, list[Run]] = {}
        for run in self.runs:
            arms.setdefault(run.config.arm, []).append(run)
        return arms

    @cached_property
    def groups(self) -> dict[str, list[Run]]:
        """Runs that differ in their seeds alone, by arm; or each by its name, where an arm has several of a seed."""
        seeds = {(run.config.arm, run.config.seed) for run in self.runs}
        if len(seeds) == len(self.runs):
            return self.by_arm
        return {self.names[run.workdir]: [run] for run in self.runs}

    @property
    def first_of_groups(self) -> dict[str, Run]:
        return {name: runs[0] for name, runs in self.groups.items()}

    @cached_property
    def comparable(self) -> list[Evaluation]:
        """Of the estimator and split that most runs have an evaluation by at their last step, one a run.

        The first of the record's names decides between equals: 'test-...-continuous' is before '-ode'.
        """
        found: dict[str, dict[Path, Evaluation]] = {}
        for run in self.runs:
            for _, record, evaluation in run.newest:
                if evaluation is not None:
                    what = [record["dataset"]["split"], compare.method(record["estimator"])]
                    found.setdefault(json.dumps(what, sort_keys=True), {}).setdefault(run.workdir, evaluation)
        return list(max(found.values(), key=len, default={}).values())


def collect(places: list[Path]) -> Collection:
    """The runs in `places`, workdirs or roots of significance over seeds.

    Raises:
      InputError: a place holds no run, is given twice, or the runs were evaluated on different images.
    """
    workdirs = [inner for place in places for inner in _workdirs(place)]
    seen: set[Path] = set()
    for place in workdirs:
        require(place.resolve() not in seen, f"{place} is given twice; give every run once")
        seen.add(place.resolve())
    runs = [_run(place) for place in workdirs]
    _check_images(runs)
    if len(places) == 1 and not (places[0] / workdir.CONFIG_FILE).exists():
        noted = experiment.read(places[0])
        order = list(noted.arms) if noted else sorted({run.config.arm for run in runs})
        known = [run for run in runs if run.config.arm in order]
        known.sort(key=lambda run: (order.index(run.config.arm), run.config.seed))
        return Collection(known, places[0], noted)
    return Collection(runs)


def _workdirs(place: Path) -> list[Path]:
    """Itself, or the workdirs in it."""
    require(place.is_dir(), f"{place} is no folder; give a run's workdir, or the --root of significance over seeds")
    if (place / workdir.CONFIG_FILE).exists():
        return [place]
    inner = sorted(path.parent for path in place.glob(f"*/{workdir.CONFIG_FILE}"))
    require(
        bool(inner),
        f"{place} holds no run (no {workdir.CONFIG_FILE}), and no folder in it does; give a run's workdir, or the "
        "--root of significance over seeds",
    )
    return inner


def _run(place: Path) -> Run:
    notes: list[str] = []
    return Run(place, configuration(place), _metrics(place, notes), _records(place, notes), notes)


def configuration(place: Path) -> ConfigDict:
    """The configuration of the run in `place`; raises InputError where it is none."""
    try:
        config = workdir.configuration(place)
        check_plain(config)
        check_sections(config)
        flat = flatten(config)
        for key, kind in NEEDED.items():
            require(isinstance(flat.get(key), kind), f"{key} is {flat.get(key)!r}")
    except (KeyError, AttributeError, TypeError, InputError) as error:
        text = first_line(error)
        raise InputError(f"{place / workdir.CONFIG_FILE} is no configuration of this program: {text}") from error
    return config


def _metrics(place: Path, notes: list[str]) -> list[workdir.Row]:
    path = place / workdir.METRICS_FILE
    try:
        written = sum(bool(line.strip()) for line in path.read_text().splitlines()) if path.exists() else 0
        rows = [row for row in workdir.metrics(place) if isinstance(row, dict) and _are_numbers(row)]
    except (OSError, ValueError) as error:
        notes.append(f"{path} cannot be read: {first_line(error)}")
        return []
    if lost := written - len(rows):
        notes.append(f"{path}: {lost} of {written} lines cannot be read and are left out")
    return rows


def _are_numbers(row: dict[str, Any]) -> bool:
    return all(isinstance(value, int | float) for value in row.values()) and math.isfinite(row.get("step", math.nan))


def _records(place: Path, notes: list[str]) -> list[Record]:
    records = []
    for path in sorted((place / "eval").glob("*.json")):
        try:
            record = compare.read_record(path)
            require(_is_whole(record), f"{path} holds something else than figures, or lacks some; evaluate anew")
        except (InputError, UnicodeDecodeError) as error:
            notes.append(first_line(error))
            continue
        try:
            records.append(Record(path, record, compare.with_values(path, record)))
        except InputError as error:
            notes.append(f"{first_line(error)}; its record is shown, and left out of comparisons")
            records.append(Record(path, record, None))
    return sorted(records, key=lambda record: (record.step, record.path.name))


def _is_whole(record: dict[str, Any]) -> bool:
    """Whether what is shown of a record is what it should be; its errors may be missing in all."""
    known, errors = record["dataset"]["known_as"], record.get("standard_error") or {}
    if not isinstance(errors, dict) or not isinstance(terms := errors.get("terms", {}), dict):
        return False
    if not all(isinstance(of_term, dict) for of_term in terms.values()):
        return False
    shown = [*record["bpd"].values()]
    for some in (errors, *terms.values()) if errors else ():
        shown += [some.get(name, ...) for name in StandardErrors._fields]
    return all(isinstance(number, int | float | None) for number in shown) and (
        known is None or {"as", "by"} <= known.keys()
    )


def _check_images(runs: Iterable[Run]) -> None:
    """Raises InputError unless all evaluations of a split are of the same images."""
    by_split: dict[str, list[Evaluation]] = {}
    for run in runs:
        for record in run.records:
            if record.evaluation is not None:
                by_split.setdefault(record.record["dataset"]["split"], []).append(record.evaluation)
    for evaluations in by_split.values():
        compare.check(evaluations, across_estimators=True)

"""Contents of workdirs as plain data. A file that cannot be read becomes a note, and the other files are read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.lab.studies.compare.measure import check_comparable, common_evaluations
from diffenc_jax.lab.studies.significance.grid import Grid, read_grid
from diffenc_jax.lab.studies.study import shortest_names
from diffenc_jax.runs.metrics import Row, read_metrics
from diffenc_jax.runs.records import Evaluation, read_record, record_paths, with_values
from diffenc_jax.runs.storage import identity
from diffenc_jax.runs.workdir import CONFIG_FILE, find_workdirs, holds_run, stored_config

# One evaluation per run, all made in one way, by workdir.
Evaluations = dict[Path, Evaluation]


class Record(NamedTuple):
    """Record of an evaluation, and the evaluation with its values if they can be read."""

    path: Path
    record: dict[str, Any]
    evaluation: Evaluation | None

    @property
    def step(self) -> int:
        return self.record["step"]


@dataclass(frozen=True)
class Run:
    """Contents of a workdir.

    Attributes:
      workdir: its path.
      config: configuration of the run.
      metrics: rows of metrics.jsonl.
      records: records of evaluations, by step and name.
      notes: a line per file that cannot be read.
    """

    workdir: Path
    config: Config
    metrics: list[Row]
    records: list[Record]
    notes: list[str]

    @property
    def step(self) -> int:
        """The last evaluated step, or else the last logged one."""
        steps = [record.step for record in self.records] or [int(row["step"]) for row in self.metrics]
        return max(steps, default=0)

    @property
    def newest(self) -> list[Record]:
        """The records of `step`."""
        return [record for record in self.records if record.step == self.step]

    @property
    def title(self) -> str:
        """'vdm, seed 0'."""
        return f"{self.config.arm}, seed {self.config.seed}"


@dataclass(frozen=True)
class Collection:
    """Runs that a page shows.

    Attributes:
      runs: in the order of the arguments; those of a root by arm and seed.
      root: root of a significance study, if the runs are exactly those below it.
      grid: the grid that `root` holds, if any.
    """

    runs: list[Run]
    root: Path | None = None
    grid: Grid | None = None

    @property
    def notes(self) -> list[str]:
        return [note for run in self.runs for note in run.notes]

    @cached_property
    def names(self) -> dict[Path, str]:
        """Distinct names of the runs, by workdir."""
        return dict(zip((run.workdir for run in self.runs), shortest_names(self.runs), strict=True))

    @property
    def by_arm(self) -> dict[str, list[Run]]:
        arms: dict[str, list[Run]] = {}
        for run in self.runs:
            arms.setdefault(run.config.arm, []).append(run)
        return arms

    @cached_property
    def groups(self) -> dict[str, list[Run]]:
        """Runs that differ only in their seeds, by arm; single runs by name if an arm has a seed twice."""
        seeds = {(run.config.arm, run.config.seed) for run in self.runs}
        if len(seeds) == len(self.runs):
            return self.by_arm
        return {self.names[run.workdir]: [run] for run in self.runs}

    @property
    def first_of_groups(self) -> dict[str, Run]:
        return {name: runs[0] for name, runs in self.groups.items()}

    @cached_property
    def comparable(self) -> Evaluations:
        """`common_evaluations` of the runs' last steps, by workdir."""
        newest = {run.workdir: [record.evaluation for record in run.newest] for run in self.runs}
        return common_evaluations({workdir: [e for e in those if e is not None] for workdir, those in newest.items()})


def collect(places: Sequence[Path]) -> Collection:
    """The runs of `places`, which are workdirs or roots of significance studies.

    Raises:
      InputError: a place holds no run or is given twice, or the runs are evaluated on different images.
    """
    workdirs = [workdir for place in places for workdir in _workdirs(place)]
    identities = [identity(workdir) for workdir in workdirs]
    for workdir, own in zip(workdirs, identities, strict=True):
        require(identities.count(own) == 1, f"{workdir} is given twice; give every run once")
    runs = [_read(workdir) for workdir in workdirs]
    _check_images(runs)
    if len(places) == 1 and not holds_run(places[0]):
        grid = read_grid(places[0])
        order = list(grid.arms) if grid else sorted({run.config.arm for run in runs})
        runs = [run for run in runs if run.config.arm in order]
        runs.sort(key=lambda run: (order.index(run.config.arm), run.config.seed))
        return Collection(runs, places[0], grid)
    return Collection(runs)


def _workdirs(place: Path) -> list[Path]:
    """`place` itself, or the workdirs in it."""
    advice = "give the workdir of a run, or the root of a significance study"
    workdirs = [place] if holds_run(place) else find_workdirs(place)
    require(bool(workdirs), f"{place} holds no run (no {CONFIG_FILE}), and neither does a folder in it; {advice}")
    return workdirs


def _read(workdir: Path) -> Run:
    notes: list[str] = []
    metrics, records = _read_metrics(workdir, notes), _read_records(workdir, notes)
    return Run(workdir, stored_config(workdir), metrics, records, notes)


def _read_metrics(workdir: Path, notes: list[str]) -> list[Row]:
    try:
        return read_metrics(workdir)
    except InputError as error:
        notes.append(str(error))
        return []


def _read_records(workdir: Path, notes: list[str]) -> list[Record]:
    records = []
    for path in record_paths(workdir):
        evaluation = None
        try:
            record = read_record(path)
        except InputError as error:
            notes.append(str(error))
            continue
        try:
            evaluation = with_values(path, record)
        except InputError as error:
            notes.append(f"{error}; its record is shown, but left out of comparisons")
        records.append(Record(path, record, evaluation))
    return sorted(records, key=lambda record: (record.step, record.path.name))


def _check_images(runs: Iterable[Run]) -> None:
    """Raise InputError unless all evaluations of a split have the same images."""
    by_split: dict[str, list[Evaluation]] = {}
    for record in (record for run in runs for record in run.records):
        if record.evaluation is not None:
            by_split.setdefault(record.record["dataset"]["split"], []).append(record.evaluation)
    for evaluations in by_split.values():
        check_comparable(evaluations, across_estimators=True)

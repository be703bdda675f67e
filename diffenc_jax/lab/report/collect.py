"""Contents of workdirs as plain data. A file that cannot be read becomes a note, and the other files are read."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from diffenc_jax.core.errors import InputError, require
from diffenc_jax.lab.comparisons.compare import check_comparable, common_evaluations
from diffenc_jax.lab.comparisons.significance.analysis import Analysis, analyse, curves_of_arms
from diffenc_jax.lab.comparisons.significance.finished import by_arm_and_seed, find_runs, finished_and_missing
from diffenc_jax.lab.comparisons.significance.grid import Grid, read_grid
from diffenc_jax.lab.studies.study import shortest_names
from diffenc_jax.runs.records import Evaluation
from diffenc_jax.runs.storage import identity
from diffenc_jax.runs.stored import CONFIG_FILE, StoredRun, runs_in


@dataclass
class Collection:
    """The runs that a page shows, and their analysis over seeds.

    Attributes:
      runs: in the order of the arguments; runs of a root are ordered by arm and seed.
      root: root of a significance study, if the runs are exactly those below it.
      grid: the grid that `root` holds, if any.
      notes: a line per file that cannot be read.
      not_made: commands that make the missing results.
      reference: arm with which the others are compared.
      analysis: None if the runs do not form one experiment, and `why` is the reason.
    """

    runs: list[StoredRun] = field(default_factory=list)
    root: Path | None = None
    grid: Grid | None = None
    notes: list[str] = field(default_factory=list)
    not_made: list[str] = field(default_factory=list)
    reference: str = ""
    analysis: Analysis | None = None
    why: str = ""

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(run.config.arm for run in self.runs))

    @property
    def is_real(self) -> bool:
        """Whether the data of the runs are real numbers."""
        return self.runs[0].config.data.pixel_levels is None

    @property
    def examples(self) -> str:
        """The word for the data of the runs, as in `describe.examples`."""
        return "examples" if self.is_real else "images"

    @cached_property
    def names(self) -> dict[Path, str]:
        """Distinct names of the runs, by workdir."""
        names = shortest_names(self.runs, [run.step for run in self.runs])
        return dict(zip((run.workdir for run in self.runs), names, strict=True))

    @cached_property
    def groups(self) -> dict[str, list[StoredRun]]:
        """Runs that differ only in their seeds, by arm; single runs by name if an arm has a seed twice."""
        if len({run.title for run in self.runs}) < len(self.runs):
            return {self.names[run.workdir]: [run] for run in self.runs}
        return {arm: [run for run in self.runs if run.config.arm == arm] for arm in self.arms}

    @cached_property
    def _comparable(self) -> dict[Path, Evaluation]:
        """`common_evaluations` of the runs' last steps, by workdir."""
        return common_evaluations({run.workdir: run.newest for run in self.runs})

    @property
    def evaluations(self) -> dict[Path, Evaluation]:
        """One evaluation per run, all made in the same way, by workdir."""
        return {run.workdir: run.evaluation for run in self.analysis.runs} if self.analysis else self._comparable

    @property
    def over_seeds(self) -> Analysis | None:
        """The analysis if an arm has several seeds."""
        several = self.analysis and any(len(arm.bpd) > 1 for arm in self.analysis.arms.values())
        return self.analysis if several else None

    def analyse(self, reference: str | None, target: float) -> None:
        """Set `reference`, and `analysis` or `why`.

        The evaluations are those that the grid asks for or, without a root, the `common_evaluations` of the last steps.

        Args:
          reference: None for the reference of the grid, or the first arm. Raises InputError if it is not an arm of the
            grid or, without a grid, of a run.
          target: difference in bits/dim for which the necessary number of seeds is computed.
        """
        arms = self.grid.arms if self.grid else self.arms
        require(reference is None or reference in arms, f"--reference={reference} is not among {', '.join(arms)}")
        self.reference = reference or (self.grid.reference if self.grid else arms[0])
        try:
            if self.root is not None:
                runs, missing = find_runs(self.root, self.grid)
            else:
                runs, missing = finished_and_missing(by_arm_and_seed(self.runs), self._comparable)
            require(bool(runs), "no run is evaluated yet")
            rows = {run.workdir: run.metrics for run in self.runs}
            curves = curves_of_arms(runs, runs[0].evaluation.record["dataset"]["split"], rows.__getitem__)
            self.analysis = analyse(runs, self.reference, target, curves, missing)
        except InputError as error:
            self.why = str(error)

    def lacks(self, command: str, run: StoredRun) -> None:
        """Add the command, such as 'eval', that makes a missing result of `run`."""
        self.not_made.append(shlex.join(["diffenc", command, str(run.workdir)]))


def collect(places: Sequence[Path], plugins: Sequence[str] = ()) -> Collection:
    """The runs of `places`, which are workdirs or roots of significance studies, with the plugins of `read_grid`.

    Raises:
      InputError: a place holds no run or is given twice, or the runs are evaluated on different images.
    """
    collection = Collection([run for place in places for run in _runs(place)])
    identities = [identity(run.workdir) for run in collection.runs]
    for run, own in zip(collection.runs, identities, strict=True):
        require(identities.count(own) == 1, f"{run.workdir} is given twice; give every run once")
    collection.notes += [line for run in collection.runs for line in run.unreadable]
    _check_images(collection.runs)
    if len(places) == 1 and places[0] != collection.runs[0].workdir:
        collection.root, collection.grid = places[0], read_grid(places[0], plugins)
        order = collection.grid.arms if collection.grid else sorted(collection.arms)
        runs = [run for run in collection.runs if run.config.arm in order]
        collection.runs = sorted(runs, key=lambda run: (order.index(run.config.arm), run.config.seed))
    return collection


def _runs(place: Path) -> list[StoredRun]:
    """The run in `place` itself, or the runs in its folders."""
    own = StoredRun(place)
    runs = [own] if own.exists else runs_in(place)
    advice = "give the workdir of a run, or the root of a significance study"
    require(bool(runs), f"{place} holds no run (no {CONFIG_FILE}), and neither does a folder in it; {advice}")
    return runs


def _check_images(runs: Sequence[StoredRun]) -> None:
    """Raise InputError unless all evaluations of a split have the same images."""
    evaluations = [one for run in runs for one in run.evaluations]
    for split in dict.fromkeys(one.record["dataset"]["split"] for one in evaluations):
        alike = [one for one in evaluations if one.record["dataset"]["split"] == split]
        check_comparable(alike, across_estimators=True)

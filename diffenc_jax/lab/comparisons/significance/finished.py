"""Finished runs of a grid with their evaluations, and the states of the missing runs."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.config import Config, flatten
from diffenc_jax.core.errors import InputError, require, require_printable
from diffenc_jax.lab.comparisons.compare import check_comparable, common_evaluations
from diffenc_jax.lab.comparisons.significance.grid import Grid, cost_file, workdir_of
from diffenc_jax.runs.files import read_json
from diffenc_jax.runs.record_types import EstimatorEntry, Record
from diffenc_jax.runs.records import Evaluation, read_evaluation, read_record
from diffenc_jax.runs.stored import StoredRun, runs_in

# Runs by arm and seed, of which some have not begun.
Expected = dict[tuple[str, int], StoredRun]


class FinishedRun(NamedTuple):
    """A run that is trained to its last step and evaluated there."""

    arm: str
    seed: int
    workdir: Path
    config: Config
    evaluation: Evaluation


@dataclass(frozen=True)
class MissingRun:
    """A run that is not finished, and its state."""

    arm: str
    seed: int
    why: str

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}: {self.why}"


def find_runs(root: Path, grid: Grid | None) -> tuple[list[FinishedRun], list[MissingRun]]:
    """The finished and the missing runs of `grid`, with the evaluations that it asks for.

    Without a grid, the runs are all arms and seeds that have a workdir below `root`, with the `common_evaluations` of
    their last steps. Raises InputError if there are no runs, or if they cannot be compared.
    """
    stored = by_arm_and_seed(runs_in(root))
    arms, seeds = sorted({arm for arm, _ in stored}), sorted({seed for _, seed in stored})
    keys = list(grid.runs()) if grid else [(arm, seed) for seed in seeds for arm in arms]
    require(bool(keys), f"{root} holds no runs; train some with `diffenc significance --root={root} ...`")
    expected = {key: stored.get(key) or StoredRun(workdir_of(root, *key)) for key in keys}
    begun = [run for run in expected.values() if run.exists]
    if grid is None:
        records = {run.workdir: _records(run.workdir, run.config, run.config.eval.split) for run in begun}
        evaluations = common_evaluations({w: [read_evaluation(*one) for one in own] for w, own in records.items()})
    else:
        wanted = {run.workdir: final_record(grid, run.workdir, run.config) for run in begun}
        evaluations = {workdir: read_evaluation(*one) for workdir, one in wanted.items() if one}
    return finished_and_missing(expected, evaluations)


def by_arm_and_seed(runs: Iterable[StoredRun]) -> Expected:
    """Runs by arm and seed; raises InputError if two have the same."""
    keyed: Expected = {}
    for run in runs:
        require_printable(run.config.arm)
        other = keyed.setdefault((run.config.arm, run.config.seed), run)
        require(other is run, f"{run.workdir} and {other.workdir} hold the same arm and seed; move one")
    return keyed


def finished_and_missing(
    expected: Expected, evaluations: Mapping[Path, Evaluation]
) -> tuple[list[FinishedRun], list[MissingRun]]:
    """The finished and the missing runs of `expected`; `evaluations` has the finished runs' evaluations by workdir.

    A run whose values are not finite counts as missing. Raises InputError if the finished runs cannot be compared, or
    if the runs of an arm differ in more than their seeds.
    """
    runs, missing = list[FinishedRun](), list[MissingRun]()
    for (arm, seed), run in expected.items():
        evaluation = evaluations.get(run.workdir)
        if evaluation is None:
            missing.append(MissingRun(arm, seed, _state(run)))
        elif not np.isfinite(evaluation.bits).all():
            missing.append(MissingRun(arm, seed, f"evaluated, but values of {evaluation.path} are not finite"))
        else:
            runs.append(FinishedRun(arm, seed, run.workdir, run.config, evaluation))
            first = next(other for other in runs if other.arm == arm)
            keys = ", ".join(_different_keys(first.config, run.config))
            text = f"{first.workdir} and {run.workdir} have the same arm and differ in {keys}"
            require(not keys, f"{text}; move one of them to another folder")
    # Arms that are trained with different losses, such as depths, are evaluated with them.
    check_comparable([one.evaluation for one in runs], len({one.config.loss for one in runs}) > 1)
    return runs, missing


def _state(run: StoredRun) -> str:
    """State of a run without the evaluation."""
    if not run.exists:
        return "not begun"
    last, wanted = max(run.steps(), default=0), run.config.train.steps
    return f"at step {last} of {wanted}" if last < wanted else "trained, but not evaluated like this"


def final_record(grid: Grid, workdir: Path, trained: Config) -> tuple[Path, Record] | None:
    """Record of the last step of the run `trained`, evaluated as `grid` asks, with its path; None if there is none."""
    final = grid.final_config(trained)
    records = _records(workdir, trained, final.eval.split)
    return next(((path, record) for path, record in records if _is_made_with(record["estimator"], final)), None)


def _records(workdir: Path, trained: Config, split: str) -> list[tuple[Path, Record]]:
    """The complete records of the last step of the run `trained`, by path."""
    records = []
    for path in StoredRun(workdir).record_paths(split, trained.train.steps):
        with suppress(InputError):
            record = read_record(path)
            records += [(path, record)] * (record["config_hash"] == trained.hash)
    return records


def _is_made_with(estimator: EstimatorEntry, config: Config) -> bool:
    """Whether the settings in a record's 'estimator' agree with `config`."""
    sections, stated = config.to_dict(), dict[str, Any](estimator)
    fit = stated.get("fit") or {}
    settings = [(stated, sections[name]) for name in ("loss", "ode", "eval")]
    settings.append((fit, {key: value for key, value in sections["fit"].items() if value is not None}))
    agree = all(known.get(key, value) == value for known, wanted in settings for key, value in wanted.items())
    return estimator["kind"] == config.eval.estimator and agree


def _different_keys(a: Config, b: Config) -> list[str]:
    """Keys of a run's identity and length, except seed and arm, in which two configurations differ."""
    steps = {"train.steps"} if a.train.steps != b.train.steps else set()
    return sorted((a.changes(b).keys() | steps) - {"seed", "arm"})


def changed_keys(reference: Config, config: Config) -> dict[str, Any]:
    """Values of the keys in which an arm differs from the reference, except keys that the arm does not have."""
    flat = flatten(config.to_dict())
    return {key: flat[key] for key in _different_keys(reference, config) if key in flat}


def read_costs(root: Path, arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Costs of a training step (`lab.costs.training_step`) by arm; arms that are not measured are left out."""
    costs = {}
    for arm in arms:
        with suppress(InputError):  # there is no file, or it is damaged
            costs[arm] = read_json(cost_file(root, arm))
    return costs

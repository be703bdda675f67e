"""Finished runs of a grid with their evaluations, and the states of the missing runs."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.config import Config, flatten
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.text import require_printable
from diffenc_jax.lab.comparisons.compare import check_comparable, common_evaluations
from diffenc_jax.lab.comparisons.significance.grid import Grid, cost_file, workdir_of
from diffenc_jax.runs.files import read_json
from diffenc_jax.runs.record_types import EstimatorEntry, Record
from diffenc_jax.runs.records import Evaluation, read_evaluation, read_record, with_values
from diffenc_jax.runs.stored import StoredRun, runs_in

# Workdir and configuration by arm and seed; None for the configuration of a run that has not begun.
Expected = dict[tuple[str, int], tuple[Path, Config | None]]


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
    """The finished and the missing runs of `grid`, evaluated as it says.

    Without a grid these are each arm with each seed that has a workdir below `root`, and `common_evaluations` of their
    last steps. Raises InputError if there are no runs, or they cannot be compared.
    """
    stored = by_arm_and_seed((run.workdir, run.config) for run in runs_in(root))
    arms, seeds = sorted({arm for arm, _ in stored}), sorted({seed for _, seed in stored})
    keys = list(grid.runs()) if grid else [(arm, seed) for seed in seeds for arm in arms]
    require(bool(keys), f"{root} holds no runs; train some with `diffenc significance --root={root} ...`")
    expected: Expected = {key: stored.get(key, (workdir_of(root, *key), None)) for key in keys}
    begun = [(workdir, config) for workdir, config in expected.values() if config is not None]
    if grid is None:
        records = {workdir: _records(workdir, config, config.eval.split) for workdir, config in begun}
        evaluations = common_evaluations({w: [with_values(*one) for one in own] for w, own in records.items()})
    else:
        wanted = {workdir: final_record(grid, workdir, config) for workdir, config in begun}
        evaluations = {workdir: read_evaluation(path) for workdir, path in wanted.items() if path}
    return finished_and_missing(expected, evaluations)


def by_arm_and_seed(runs: Iterable[tuple[Path, Config]]) -> Expected:
    """Workdirs and configurations by arm and seed; raises InputError if two have the same."""
    keyed: Expected = {}
    for workdir, config in runs:
        require_printable(config.arm)
        key = config.arm, config.seed
        require(key not in keyed, f"{workdir} and {keyed.get(key, ('',))[0]} hold the same arm and seed; move one")
        keyed[key] = workdir, config
    return keyed


def finished_and_missing(
    expected: Expected, evaluations: Mapping[Path, Evaluation]
) -> tuple[list[FinishedRun], list[MissingRun]]:
    """The finished and the missing runs of `expected`; `evaluations` are those of the finished ones, by workdir.

    A run whose values are not finite is missing. Raises InputError if the finished runs cannot be compared, or those of
    an arm differ in more than their seeds.
    """
    runs, missing = list[FinishedRun](), list[MissingRun]()
    for (arm, seed), (workdir, config) in expected.items():
        evaluation = evaluations.get(workdir)
        if evaluation is None or config is None:
            missing.append(MissingRun(arm, seed, _state(workdir, config)))
        elif not np.isfinite(evaluation.bits).all():
            missing.append(MissingRun(arm, seed, f"evaluated, but values of {evaluation.path} are not finite"))
        else:
            runs.append(FinishedRun(arm, seed, workdir, config, evaluation))
            first = next(run for run in runs if run.arm == arm)
            keys = ", ".join(_different_keys(first.config, config))
            text = f"{first.workdir} and {workdir} have the same arm and differ in {keys}"
            require(not keys, f"{text}; move one of them to another folder")
    # Arms that are trained with different losses, such as depths, are evaluated with them.
    check_comparable([run.evaluation for run in runs], len({run.config.loss for run in runs}) > 1)
    return runs, missing


def _state(workdir: Path, config: Config | None) -> str:
    """State of a run without the evaluation."""
    if config is None:
        return "not begun"
    last, wanted = max(StoredRun(workdir).steps(), default=0), config.train.steps
    return f"at step {last} of {wanted}" if last < wanted else "trained, but not evaluated like this"


def final_record(grid: Grid, workdir: Path, trained: Config) -> Path | None:
    """The record of the last step of the run `trained` that was evaluated as `grid` says, or None."""
    final = grid.final_config(trained)
    records = _records(workdir, trained, final.eval.split)
    return next((path for path, record in records if _is_made_with(record["estimator"], final)), None)


def _records(workdir: Path, trained: Config, split: str) -> list[tuple[Path, Record]]:
    """The complete records of the last step of the run `trained`, by path."""
    records = []
    for path in StoredRun(workdir).record_paths(split, trained.train.steps):
        with suppress(InputError):
            record = read_record(path)
            records += [(path, record)] * (record["config_hash"] == trained.hash)
    return records


def _is_made_with(estimator: EstimatorEntry, config: Config) -> bool:
    """Whether a record's 'estimator' has the settings of `config`, as far as it states them."""
    kind, sections, stated = estimator["kind"], config.to_dict(), dict[str, Any](estimator)
    name = "bound" if kind in ("continuous", "discrete") else kind  # which say whether the depth is finite
    fit = stated.get("fit") or {}
    settings = [(stated, sections[name]) for name in ("loss", "ode", "eval")]
    settings.append((fit, {key: value for key, value in sections["fit"].items() if value is not None}))
    agree = all(known.get(key, value) == value for known, wanted in settings for key, value in wanted.items())
    return name == config.eval.estimator and agree


def _different_keys(a: Config, b: Config) -> list[str]:
    """Keys of a run's identity and length, except seed and arm, in which two configurations differ."""
    ours, theirs = (config.identity() | {"train.steps": config.train.steps} for config in (a, b))
    keys = sorted((ours.keys() | theirs.keys()) - {"seed", "arm"})
    return [key for key in keys if ours.get(key, ...) != theirs.get(key, ...)]  # Ellipsis is no key's value


def changed_keys(reference: Config, config: Config) -> dict[str, Any]:
    """Values of the keys in which an arm differs from the reference, except keys that the arm does not have."""
    flat = flatten(config.to_dict())
    return {key: flat[key] for key in _different_keys(reference, config) if key in flat}


def read_costs(root: Path, arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Costs of a training step (`lab.costs.training_step`) by arm, without arms that are not measured."""
    costs = {}
    for arm in arms:
        with suppress(InputError):  # there is no file, or it is damaged
            costs[arm] = read_json(cost_file(root, arm))
    return costs

"""Finished runs of a grid with their evaluations, and the states of the missing runs."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.config import Config, flatten
from diffenc_jax.config.sections import FIT_IMAGES
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.text import require_printable
from diffenc_jax.lab.studies.compare.describe import implausible
from diffenc_jax.lab.studies.compare.measure import check_comparable, common_evaluations
from diffenc_jax.lab.studies.significance.grid import Grid, cost_file, workdir_of
from diffenc_jax.runs.files import read_json
from diffenc_jax.runs.metrics import TOTAL, Row, read_metrics, training_seconds
from diffenc_jax.runs.records import Evaluation, read_evaluation, record_paths
from diffenc_jax.runs.workdir import find_workdirs, saved_steps, stored_config

# Workdir and configuration by arm and seed; None for the configuration of a run that has not begun.
Expected = dict[tuple[str, int], tuple[Path, Config | None]]
Points = list[tuple[float, list[float]]]  # (step or seconds, value of each seed)
Curves = dict[str, dict[str, Points]]  # by name of a group of runs, such as the arm, and by kind


class FinishedRun(NamedTuple):
    """A run that is trained to its last step and evaluated there."""

    arm: str
    seed: int
    workdir: Path
    config: Config
    evaluation: Evaluation


class MissingRun(NamedTuple):
    """A run that is not finished, and its state."""

    arm: str
    seed: int
    why: str


def find_runs(
    root: Path, grid: Grid | None, across_augmentation: bool = False
) -> tuple[list[FinishedRun], list[MissingRun]]:
    """The finished and the missing runs of `grid`, evaluated as it says.

    Without a grid these are each arm with each seed that has a workdir below `root`, and `common_evaluations` of their
    last steps. Runs with different augmentation are compared if the grid or `across_augmentation` says so. Raises
    InputError if there are no runs, or they cannot be compared.
    """
    across_augmentation |= grid is not None and grid.across_augmentation
    found = by_arm_and_seed((workdir, stored_config(workdir)) for workdir in find_workdirs(root))
    if grid is None:
        arms, seeds = (sorted({key[i] for key in found}) for i in range(2))
        keys = [(arm, seed) for seed in seeds for arm in arms]
    else:
        keys = list(grid.runs())
    require(bool(keys), f"{root} holds no runs; train some with `diffenc significance --root={root} ...`")
    expected = {key: found.get(key, (workdir_of(root, *key), None)) for key in keys}
    begun = [(workdir, config) for workdir, config in expected.values() if config is not None]
    if grid is None:
        records = {workdir: _records_of_last_step(workdir, config, config.eval.split) for workdir, config in begun}
        return finished_and_missing(
            expected,
            common_evaluations({workdir: [*map(read_evaluation, paths)] for workdir, paths in records.items()}),
            across_augmentation,
        )
    wanted = {workdir: matching_record(workdir, config, grid.final_config(config)) for workdir, config in begun}
    evaluations = {workdir: read_evaluation(path) for workdir, path in wanted.items() if path}
    return finished_and_missing(expected, evaluations, across_augmentation)


def by_arm_and_seed(runs: Iterable[tuple[Path, Config]]) -> Expected:
    """Workdirs and configurations by arm and seed; raises InputError if two have the same."""
    found: Expected = {}
    for workdir, config in runs:
        require_printable(config.arm)
        key = config.arm, config.seed
        require(key not in found, f"{workdir} and {found.get(key, ('',))[0]} hold the same arm and seed; move one")
        found[key] = workdir, config
    return found


def finished_and_missing(
    expected: Expected, evaluations: Mapping[Path, Evaluation], across_augmentation: bool = False
) -> tuple[list[FinishedRun], list[MissingRun]]:
    """The finished and the missing runs of `expected`; `evaluations` are those of the finished ones, by workdir.

    A run whose values are not finite, or whose record is not plausible, is missing. Raises InputError if the finished
    runs cannot be compared.
    """
    runs, missing = [], []
    for (arm, seed), (workdir, config) in expected.items():
        found = evaluations.get(workdir)
        if found is None:
            missing.append(MissingRun(arm, seed, _state(workdir, config)))
        elif why := implausible(found.record):
            missing.append(MissingRun(arm, seed, f"evaluated, but {found.path} is not plausible: {why}"))
        elif not np.isfinite(found.bits).all():
            missing.append(MissingRun(arm, seed, f"evaluated, but values of {found.path} are not finite"))
        else:
            runs.append(FinishedRun(arm, seed, workdir, config, found))
    _check_runs(runs, across_augmentation)
    return runs, missing


def _state(workdir: Path, config: Config | None) -> str:
    """State of a run without the evaluation."""
    if config is None:
        return "not begun"
    last, wanted = max(saved_steps(workdir), default=0), config.train.steps
    return f"at step {last} of {wanted}" if last < wanted else "trained, but not evaluated like this"


def matching_record(workdir: Path, trained: Config, final: Config) -> Path | None:
    """The record of the last step of the run `trained` that was evaluated with the settings of `final`, or None."""
    paths = _records_of_last_step(workdir, trained, final.eval.split)
    return next((path for path in paths if not deviations(_json(path).get("estimator"), final)), None)


def _records_of_last_step(workdir: Path, trained: Config, split: str) -> list[Path]:
    paths = record_paths(workdir, split, trained.train.steps)
    return [path for path in paths if _json(path).get("config_hash") == trained.hash]


def deviations(estimator: Any, config: Config) -> dict[str, Any]:
    """Keys of `config` that must change, with their values, for the evaluation to be that of a record's 'estimator'."""
    if not isinstance(estimator, dict):
        return {"eval.estimator": None}
    name = estimator.get("kind")
    name = "bound" if name in ("continuous", "discrete") else name  # a bound's kind says whether its depth is finite
    changes = {} if name == config.eval.estimator else {"eval.estimator": name}
    sections = config.to_dict()
    for section in ("loss", "ode", "eval"):
        for key, value in sections[section].items():
            if estimator.get(key, value) != value:
                changes[f"{section}.{key}"] = estimator[key]
    return changes | _fit_deviations(estimator.get("fit"), config)


def _fit_deviations(fit: Any, config: Config) -> dict[str, Any]:
    """Keys of `config.fit` that must change for the fit to be that of a record; `fit.images` may be left open."""
    if not isinstance(fit, dict):
        return {}
    wanted = config.fit.to_dict()
    open_and_default = wanted["images"] is None and fit.get("images", FIT_IMAGES) <= FIT_IMAGES
    wanted |= {"images": fit.get("images")} if open_and_default else {}
    return {f"fit.{key}": fit[key] for key, value in wanted.items() if fit.get(key, value) != value}


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if there is none."""
    try:
        value = read_json(path)
    except InputError:
        return {}
    return value if isinstance(value, dict) else {}


def _check_runs(runs: Sequence[FinishedRun], across_augmentation: bool) -> None:
    """Raise InputError unless the runs can be compared, and those of an arm differ only in their seeds."""
    if not runs:
        return
    # Arms that are trained with different losses, such as depths, are evaluated with them.
    losses_differ = len({run.config.loss for run in runs}) > 1
    check_comparable([run.evaluation for run in runs], losses_differ, across_augmentation)
    first_of: dict[str, FinishedRun] = {}
    for run in runs:
        first = first_of.setdefault(run.arm, run)
        different = _different_keys(first.config, run.config)
        require(
            not different,
            f"{first.workdir} and {run.workdir} have the same arm and differ in {', '.join(different)}; "
            "move one of them to another folder",
        )
    terms = {tuple(sorted(run.evaluation.record["bpd"])) for run in runs}
    require(len(terms) == 1, "the records of the runs have different terms of bpd; evaluate all in the same way")
    passes = {run.evaluation.record["estimator"]["passes"] for run in runs}
    require(len(passes) == 1, f"the runs are evaluated with {sorted(passes)} passes; evaluate all with the same number")


def _different_keys(a: Config, b: Config) -> list[str]:
    """Keys of a run's identity and length, except seed and arm, in which two configurations differ."""
    a, b = (config.identity() | {"train.steps": config.train.steps} for config in (a, b))
    keys = sorted((a.keys() | b.keys()) - {"seed", "arm"})
    return [key for key in keys if a.get(key, ...) != b.get(key, ...)]  # Ellipsis is no key's value


def changed_keys(reference: Config, config: Config) -> dict[str, Any]:
    """Values of the keys in which an arm differs from the reference, except keys that the arm does not have."""
    flat = flatten(config.to_dict())
    return {key: flat[key] for key in _different_keys(reference, config) if key in flat}


def read_costs(root: Path, arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Measured costs of a training step by arm, without arms that are not measured; see `studies.costs`."""
    found = {arm: _json(cost_file(root, arm)) for arm in arms}
    return {arm: cost for arm, cost in found.items() if _is_cost(cost)}


def _is_cost(cost: dict[str, Any]) -> bool:
    """Whether a value from a JSON file has the entries of a cost that are shown."""
    numbers = [cost.get(key) for key in ("flops_per_step", "seconds_per_step", "memory_per_step")]
    return isinstance(cost.get("device"), str) and all(
        type(number) in (int, float) and 0 < number < math.inf for number in numbers
    )


def learning_curves(
    groups: Mapping[str, Sequence[Sequence[Row]]], batch_sizes: Mapping[str, int], split: str
) -> Curves:
    """Bits/dim in 'training' and in each 'evaluation' on `split`, by step, and the same by time.

    'training by time' and 'evaluation by time' are against the seconds of training, means over the runs of a group.

    Args:
      groups: rows of metrics of each run, by name of the group.
      batch_sizes: images per step, by name of the group.
    """
    curves = curves_over_seeds(groups, {"training": "bpd", "evaluation": f"{split}{TOTAL}"})
    for name, kinds in curves.items():
        clocks = [training_seconds(rows, batch_sizes[name]) for rows in groups[name]]
        kinds |= {f"{kind} by time": _by_time(points, clocks) for kind, points in kinds.items()}
    return curves


def _by_time(points: Points, clocks: Sequence[Mapping[int, float]]) -> Points:
    """Points by step against seconds instead; none where the pace of a run is not known."""
    if any(len(clock) == 1 for clock in clocks):
        return []
    seconds = [np.interp([step for step, _ in points], list(clock), list(clock.values())) for clock in clocks]
    return [(float(at), values) for at, (_, values) in zip(np.mean(seconds, axis=0), points, strict=True)]


def curves_of_arms(
    runs: Sequence[FinishedRun], split: str, metrics: Callable[[Path], Sequence[Row]] = read_metrics
) -> Curves:
    """The `learning_curves` of each arm, from the rows of `metrics` by workdir."""
    rows: dict[str, list[Sequence[Row]]] = {}
    for run in runs:
        rows.setdefault(run.arm, []).append(metrics(run.workdir))
    return learning_curves(rows, {run.arm: run.config.train.batch_size for run in runs}, split)


def curves_over_seeds(groups: Mapping[str, Sequence[Sequence[Row]]], metrics: Mapping[str, str]) -> Curves:
    """Curves of `metrics`, by kind, of each group of runs, given by their rows of metrics.

    A curve has the steps that all runs of its group have.
    """
    return {name: {kind: _curve(runs, metric) for kind, metric in metrics.items()} for name, runs in groups.items()}


def _curve(runs: Sequence[Sequence[Row]], metric: str) -> Points:
    by_step = [{row["step"]: row[metric] for row in rows if metric in row} for rows in runs]
    steps = sorted(set.intersection(*map(set, by_step)))
    return [(step, [values[step] for values in by_step]) for step in steps]

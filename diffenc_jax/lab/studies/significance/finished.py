"""Finished runs of a grid with their evaluations, and the states of the missing runs."""

import math
from collections.abc import Iterable, Mapping, Sequence
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
from diffenc_jax.runs.records import Evaluation, read_evaluation, record_paths
from diffenc_jax.runs.workdir import find_workdirs, saved_steps, stored_config

# Workdir and configuration by arm and seed; None for the configuration of a run that has not begun.
Expected = dict[tuple[str, int], tuple[Path, Config | None]]


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

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}: {self.why}"


class Cost(NamedTuple):
    """Measured cost of a training step; see `studies.costs`."""

    device: str
    flops_per_step: float
    seconds_per_step: float
    memory_per_step: float


def find_runs(
    root: Path, grid: Grid | None, across_augmentation: bool = False
) -> tuple[list[FinishedRun], list[MissingRun]]:
    """The finished and the missing runs of `grid`, evaluated as it says.

    Without a grid these are each arm with each seed that has a workdir below `root`, and `common_evaluations` of their
    last steps. Runs with different augmentation are compared if the grid or `across_augmentation` says so. Raises
    InputError if there are no runs, or they cannot be compared.
    """
    stored = by_arm_and_seed((workdir, stored_config(workdir)) for workdir in find_workdirs(root))
    if grid is None:
        seeds = sorted({seed for _, seed in stored})
        keys = [(arm, seed) for seed in seeds for arm in sorted({arm for arm, _ in stored})]
    else:
        keys = list(grid.runs())
        across_augmentation |= grid.across_augmentation
    require(bool(keys), f"{root} holds no runs; train some with `diffenc significance --root={root} ...`")
    expected: Expected = {key: stored.get(key, (workdir_of(root, *key), None)) for key in keys}
    begun = [(workdir, config) for workdir, config in expected.values() if config is not None]
    if grid is None:
        records = {workdir: _records_of_last_step(workdir, config, config.eval.split) for workdir, config in begun}
        evaluations = common_evaluations({w: [*map(read_evaluation, paths)] for w, paths in records.items()})
    else:
        wanted = {workdir: matching_record(workdir, config, grid.final_config(config)) for workdir, config in begun}
        evaluations = {workdir: read_evaluation(path) for workdir, path in wanted.items() if path}
    return finished_and_missing(expected, evaluations, across_augmentation)


def arms_of(runs: Iterable[FinishedRun], missing: Iterable[MissingRun]) -> list[str]:
    """The arms of all runs."""
    return list(dict.fromkeys([*(run.arm for run in runs), *(run.arm for run in missing)]))


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
    expected: Expected, evaluations: Mapping[Path, Evaluation], across_augmentation: bool = False
) -> tuple[list[FinishedRun], list[MissingRun]]:
    """The finished and the missing runs of `expected`; `evaluations` are those of the finished ones, by workdir.

    A run whose values are not finite, or whose record is not plausible, is missing. Raises InputError if the finished
    runs cannot be compared.
    """
    runs, missing = [], []
    for (arm, seed), (workdir, config) in expected.items():
        evaluation = evaluations.get(workdir)
        if evaluation is None or config is None:
            missing.append(MissingRun(arm, seed, _state(workdir, config)))
        elif why := implausible(evaluation.record):
            missing.append(MissingRun(arm, seed, f"evaluated, but {evaluation.path} is not plausible: {why}"))
        elif not np.isfinite(evaluation.bits).all():
            missing.append(MissingRun(arm, seed, f"evaluated, but values of {evaluation.path} are not finite"))
        else:
            runs.append(FinishedRun(arm, seed, workdir, config, evaluation))
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
    return next((path for path in paths if _is_made_with(_json(path).get("estimator"), final)), None)


def _records_of_last_step(workdir: Path, trained: Config, split: str) -> list[Path]:
    paths = record_paths(workdir, split, trained.train.steps)
    return [path for path in paths if _json(path).get("config_hash") == trained.hash]


def _is_made_with(estimator: Any, config: Config) -> bool:
    """Whether a record's 'estimator' has the settings of `config`, as far as it states them."""
    if not isinstance(estimator, dict):
        return False
    kind = estimator.get("kind")
    name = "bound" if kind in ("continuous", "discrete") else kind  # which say whether the depth is finite
    sections = config.to_dict()
    settings = {key: value for section in ("loss", "ode", "eval") for key, value in sections[section].items()}
    fit, wanted = estimator.get("fit"), sections["fit"]
    fit = fit if isinstance(fit, dict) else {}
    if wanted["images"] is None and fit.get("images", FIT_IMAGES) <= FIT_IMAGES:
        fit = fit | {"images": None}  # all images, if there are no more
    return (
        name == config.eval.estimator
        and all(estimator.get(key, value) == value for key, value in settings.items())
        and all(fit.get(key, value) == value for key, value in wanted.items())
    )


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
    ours, theirs = (config.identity() | {"train.steps": config.train.steps} for config in (a, b))
    keys = sorted((ours.keys() | theirs.keys()) - {"seed", "arm"})
    return [key for key in keys if ours.get(key, ...) != theirs.get(key, ...)]  # Ellipsis is no key's value


def changed_keys(reference: Config, config: Config) -> dict[str, Any]:
    """Values of the keys in which an arm differs from the reference, except keys that the arm does not have."""
    flat = flatten(config.to_dict())
    return {key: flat[key] for key in _different_keys(reference, config) if key in flat}


def read_costs(root: Path, arms: Sequence[str]) -> dict[str, Cost]:
    """Measured costs of a training step by arm, without arms that are not measured."""
    costs = {arm: _read_cost(cost_file(root, arm)) for arm in arms}
    return {arm: cost for arm, cost in costs.items() if cost is not None}


def _read_cost(path: Path) -> Cost | None:
    """The cost in a JSON file; None if there is none."""
    content = _json(path)
    device, *numbers = (content.get(key) for key in Cost._fields)
    known = [n for n in numbers if isinstance(n, int | float) and n is not True and 0 < n < math.inf]
    return Cost(device, *known) if isinstance(device, str) and len(known) == len(numbers) else None

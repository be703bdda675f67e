"""Which runs of an experiment are there, and the evaluations of those that are finished."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from diffenc_jax import compare, workdir
from diffenc_jax.compare import Evaluation
from diffenc_jax.config import config_hash, flatten, identity, require
from diffenc_jax.errors import InputError
from diffenc_jax.significance.experiment import Experiment, cost_file, folder

# What `eval.estimator` calls the kinds that records name, where that is not the same.
ASKED_AS = {"continuous": "bound", "discrete": "bound"}


class Run(NamedTuple):
    """A finished run: trained to its last step and evaluated there."""

    arm: str
    seed: int
    workdir: Path
    config: ConfigDict
    evaluation: Evaluation


class Missing(NamedTuple):
    """A run that is not finished, and what is known of it."""

    arm: str
    seed: int
    why: str


def record_of(folder: Path, config: ConfigDict) -> Path | None:
    """The record in the workdir `folder` of the last step of `config`, made as `config.eval` says, if there is one."""
    made = config_hash(config)
    for path in _candidates(folder, config):
        record = _json(path)
        if record.get("config_hash") == made and _asked(record.get("estimator"), config):
            return path
    return None


def _candidates(folder: Path, config: ConfigDict) -> list[Path]:
    return sorted((folder / "eval").glob(f"{config.eval.split}-{config.train.steps}-*.json"))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _asked(estimator: Any, config: ConfigDict) -> bool:
    """Whether a record's 'estimator' is what `config` asks for, in all that both of them name."""
    if not isinstance(estimator, dict):
        return False
    settings = {**config.loss, **config.ode, **config.eval}
    kind = estimator.get("kind")
    return ASKED_AS.get(kind, kind) == settings["estimator"] and all(
        settings[key] == value for key, value in estimator.items() if key in settings
    )


def collect(root: Path, experiment: Experiment | None) -> tuple[list[Run], list[Missing]]:
    """The finished runs, and those that are missing.

    Without an experiment noted in `root`, its runs are those whose workdirs are there, and each arm is expected
    with each seed.

    Raises:
      InputError: there are no runs, or they cannot be compared.
    """
    configs = _configurations(root, experiment)
    require(bool(configs), f"{root} holds no runs; train some with python -m diffenc_jax.significance --root={root}")
    runs, missing = [], []
    for (arm, seed), (place, config) in configs.items():
        path = None if config is None else _record(place, config, experiment)
        if path is None:
            missing.append(Missing(arm, seed, _state(place, config)))
        elif np.isfinite((evaluation := compare.read(path)).bits).all():
            runs.append(Run(arm, seed, place, config, evaluation))
        else:
            missing.append(Missing(arm, seed, f"evaluated, but {path} has values that are no numbers"))
    check(runs)
    return runs, missing


def _configurations(root: Path, experiment: Experiment | None) -> dict[tuple[str, int], tuple[Path, ConfigDict | None]]:
    """Workdir and configuration of each run that is expected; no configuration where nothing is there."""
    found = {}
    for path in sorted(root.glob(f"*/{workdir.CONFIG_FILE}")):
        config = workdir.configuration(path.parent)
        key = config.arm, config.seed
        if key in found:
            raise InputError(f"{path.parent} and {found[key][0]} hold the same arm and seed; move one away")
        found[key] = path.parent, config
    if experiment is None:
        arms, seeds = (sorted({key[i] for key in found}) for i in range(2))
        expected = [(arm, seed) for seed in seeds for arm in arms]
    else:
        expected = list(experiment.runs())
    return {key: found.get(key, (folder(root, *key), None)) for key in expected}


def _record(place: Path, config: ConfigDict, experiment: Experiment | None) -> Path | None:
    """The record that counts: the one that the experiment asks for, or else the only one of the last step."""
    if experiment is not None:
        config = config.copy_and_resolve_references()
        config.eval.seed = config.seed
        config.eval.passes = experiment.passes or config.eval.passes
        return record_of(place, config)
    made = config_hash(config)
    paths = [path for path in _candidates(place, config) if _json(path).get("config_hash") == made]
    require(
        len(paths) < 2,
        f"{place} holds several evaluations of its last step, {', '.join(path.name for path in paths)}; leave one",
    )
    return paths[0] if paths else None


def _state(place: Path, config: ConfigDict | None) -> str:
    """What is known of a run that is not finished."""
    if config is None:
        return "not begun"
    steps = [int(path.name) for path in (place / "checkpoints").glob("*") if path.name.isdecimal()]
    last, wanted = max(steps, default=0), config.train.steps
    return f"at step {last} of {wanted}" if last < wanted else "trained, not evaluated as asked"


def check(runs: list[Run]) -> None:
    """Raises InputError unless the runs can be compared, and those of an arm differ in their seeds alone."""
    if not runs:
        return
    compare.check([run.evaluation for run in runs], across_estimators=False)
    first_of: dict[str, Run] = {}
    for run in runs:
        first = first_of.setdefault(run.arm, run)
        differ = unlike(first.config, run.config)
        require(
            not differ,
            f"{first.workdir} and {run.workdir} are of one arm and differ in {', '.join(differ)}; leave one kind",
        )
    passes = {run.evaluation.record["estimator"]["passes"] for run in runs}
    require(len(passes) == 1, f"the runs are evaluated with {sorted(passes)} passes; evaluate all with as many")


def unlike(a: ConfigDict, b: ConfigDict) -> list[str]:
    """Keys in which two runs differ besides seed and arm, as far as those decide what a run computes."""
    a, b = (identity(config) | {"train.steps": config.train.steps} for config in (a, b))
    missing = object()
    keys = sorted((a.keys() | b.keys()) - {"seed", "arm"})
    return [key for key in keys if a.get(key, missing) != b.get(key, missing)]


def changes(reference: ConfigDict, config: ConfigDict) -> dict[str, Any]:
    """What an arm has otherwise than the reference, by key; keys that it lacks go with a kind that has none."""
    flat = flatten(config)
    return {key: flat[key] for key in unlike(reference, config) if key in flat}


def costs(root: Path, arms: list[str]) -> dict[str, dict[str, Any]]:
    """What a training step costs, by arm, as far as it was measured; see diffenc_jax/costs.py."""
    found = {arm: _json(cost_file(root, arm)) for arm in arms}
    return {arm: cost for arm, cost in found.items() if cost}


def curves(runs: list[Run]) -> dict[str, dict[str, list[tuple[int, list[float]]]]]:
    """By arm, 'training' and 'evaluation': (step, bits/dim of each seed) where all seeds of the arm have the step."""
    kinds = {"training": "bpd", "evaluation": f"{runs[0].evaluation.record['dataset']['split']}{workdir.TOTAL}"}
    by_arm: dict[str, list[list[workdir.Row]]] = {}
    for run in runs:
        by_arm.setdefault(run.arm, []).append(workdir.metrics(run.workdir))
    return {arm: {kind: over_seeds(seeds, name) for kind, name in kinds.items()} for arm, seeds in by_arm.items()}


def over_seeds(seeds: list[list[workdir.Row]], name: str) -> list[tuple[int, list[float]]]:
    """(step, value of each seed) of the metric `name`, where all `seeds`, rows of metrics.jsonl each, have the step."""
    by_step = [{row["step"]: row[name] for row in rows if name in row} for rows in seeds]
    steps = sorted(set.intersection(*map(set, by_step)))
    return [(step, [values[step] for values in by_step]) for step in steps]

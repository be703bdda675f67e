"""The commands that make what a page shows, as they are typed into a shell."""

import re
import shlex
from pathlib import Path
from typing import Any

from diffenc_jax import cli
from diffenc_jax.config import flatten
from diffenc_jax.errors import InputError
from diffenc_jax.report.collect import Collection, Record, Run
from diffenc_jax.significance.experiment import COSTS, MAIN, cost_file
from diffenc_jax.significance.results import ASKED_AS

# What `workdir.configuration` leaves to the machine, so that a stored configuration does not tell.
LEFT_OPEN = ("model.scan", "model.remat")


def module(name: str, *arguments: Any) -> str:
    """'python -m diffenc_jax.NAME ...', quoted."""
    return shlex.join(["python", "-m", name, *map(str, arguments)])


def of_package(name: str, *arguments: Any) -> str:
    """The same for a module of this package."""
    return module(f"diffenc_jax.{name}", *arguments)


def configuration(run: Run) -> tuple[list[str], list[str]]:
    """Flags that give the run's configuration, and the keys in which they still give another, or none.

    The file is the one that is shipped under the configuration's name, if it is at hand; what it gives is loaded, and
    compared with what the workdir holds.
    """
    config = run.config
    wanted = {key: value for key, value in flatten(config).items() if key not in LEFT_OPEN}
    file = Path("configs") / f"{config.name}.py"
    flags = [f"--config={file}:{config.arm}"]
    if not re.fullmatch(r"\w+", config.name) or not file.exists():
        return flags, sorted(wanted)
    try:
        given = flatten(cli.load(f"{file}:{config.arm}"))
        overrides = [f"{k}={_typed(v)}" for k, v in wanted.items() if k in given and given[k] != v]
        given = flatten(cli.load(f"{file}:{config.arm}", overrides))
    except InputError:
        return flags, sorted(wanted)
    missing = object()
    keys = (wanted.keys() | given.keys()) - set(LEFT_OPEN)
    differ = sorted(key for key in keys if given.get(key, missing) != wanted.get(key, missing))
    return [*flags, *(f"--config.{override}" for override in overrides)], differ


def _typed(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)


def train(run: Run) -> str:
    """What trains it, evaluates it and draws its samples."""
    return module(MAIN, *configuration(run)[0], f"--workdir={run.workdir}")


def evaluate(run: Run, record: Record | None = None) -> str:
    """What evaluates it, as its configuration says or as `record` was made."""
    flags = configuration(run)[0]
    if record is not None:
        flags += [f"--config.{key}={value}" for key, value in _asked(run, record).items()]
    return module(MAIN, *flags, f"--workdir={run.workdir}", "--mode=eval")


def _asked(run: Run, record: Record) -> dict[str, Any]:
    """The keys of the sections that say how to evaluate, in which the record is otherwise than the configuration."""
    estimator, config = record.record["estimator"], run.config
    kind = ASKED_AS.get(estimator["kind"], estimator["kind"])
    asked = {"eval.estimator": kind} if config.eval.estimator != kind else {}
    for section in ("loss", "ode", "eval"):
        for key in config[section]:
            value = estimator.get(key)
            if key in estimator and value != config[section][key] and not isinstance(value, dict | list):
                asked[f"{section}.{key}"] = value
    return asked


def differs(run: Run, record: Record) -> bool:
    """Whether the record takes other flags than the run's configuration."""
    return bool(_asked(run, record))


def over_seeds(collection: Collection) -> str:
    """What trains the arms over the experiment's seeds, or over five."""
    if collection.experiment is not None:
        return collection.experiment.command(collection.root)
    first = collection.runs[0].config
    given = [f"--config=configs/{first.name}.py", f"--arms={','.join(collection.by_arm)}", "--seeds=0-4"]
    return of_package("significance", *given, f"--root=runs/{first.name}-seeds")


def costs(run: Run, place: Path) -> str:
    """What measures a training step of it, and keeps it in `place`, its workdir or the root that holds it."""
    return module(COSTS, *configuration(run)[0], f"--json={cost_file(place, run.config.arm)}")

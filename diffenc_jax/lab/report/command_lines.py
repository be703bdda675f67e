"""Shell commands that reproduce the contents of a page, and what is missing on it."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from diffenc_jax.config import flatten, installed_configs, load_config
from diffenc_jax.core.document import Code, Section, Text
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.report.collect import Collection, Record, Run
from diffenc_jax.lab.report.html import Fold
from diffenc_jax.lab.studies.significance.finished import deviations

# Keys that depend on the machine; `stored_config` does not fix them.
LEFT_OPEN = {"model.scan", "model.remat"}


def command_line(name: str, *arguments: Any) -> str:
    """'diffenc NAME ...', quoted."""
    return shlex.join(["diffenc", name, *map(str, arguments)])


def config_flags(run: Run) -> tuple[list[str], list[str]]:
    """Flags that select a run's configuration, and the keys whose values they do not reproduce.

    The flags name the installed configuration of the same name and override the keys in which the stored configuration
    differs from it.
    """
    config = run.config
    wanted, spec = flatten(config.to_dict()), f"{config.name}:{config.arm}"
    if config.name not in installed_configs():
        return [f"--config=configs/{config.name}.py:{config.arm}"], sorted(wanted.keys() - LEFT_OPEN)
    try:
        given = _values(spec)
        changed = {key: value for key, value in wanted.items() if key in given and given[key] != value}
        overrides = [f"{key}={_typed(value)}" for key, value in changed.items() if key not in LEFT_OPEN]
        given = _values(spec, *overrides)
    except InputError:
        return [f"--config={spec}"], sorted(wanted.keys() - LEFT_OPEN)
    keys = (wanted.keys() | given.keys()) - LEFT_OPEN
    different = sorted(key for key in keys if given.get(key, ...) != wanted.get(key, ...))  # Ellipsis is no key's value
    return [f"--config={spec}", *(f"--config.{override}" for override in overrides)], different


@cache
def _values(spec: str, *overrides: str) -> Mapping[str, Any]:
    """Values by key of an installed configuration; a page asks for the same ones many times."""
    return flatten(load_config(spec, overrides).to_dict())


def _typed(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)


def run_line(command: str, run: Run, record: Record | None = None) -> str:
    """Line of 'train', 'eval' or 'sample' for a run; with `record`, the evaluation that made it."""
    if command == "train":
        return command_line(command, *config_flags(run)[0], f"--workdir={run.workdir}")
    changes = {} if record is None else deviations(record.record["estimator"], run.config)
    flags = [f"--config.{key}={value}" for key, value in changes.items() if not isinstance(value, dict | list)]
    return command_line(command, run.workdir, *flags)


class NotMade(NamedTuple):
    """Content that runs lack, and the command lines that make it."""

    what: str
    runs: Sequence[Run]
    lines: Sequence[str]


def not_made_yet(what: str, runs: Sequence[Run], lines: Iterable[str]) -> list[NotMade]:
    """Names what `runs` lack, in a block that `gathered` takes out of its section; empty without runs."""
    return [NotMade(what, runs, list(lines))] if runs else []


def gathered(sections: Iterable[Section], arms: Sequence[str]) -> list[Section]:
    """The sections that have content, and a last one with a line that names everything that is not made.

    Arms are named where not all of `arms` lack it.
    """
    whole, missing = [], []
    for section in sections:
        missing += [block for block in section.blocks if isinstance(block, NotMade)]
        if blocks := [block for block in section.blocks if not isinstance(block, NotMade)]:
            whole.append(section._replace(blocks=blocks))
    if not missing:
        return whole
    lacking = [list(dict.fromkeys(run.config.arm for run in one.runs)) for one in missing]
    named = [f" ({', '.join(some)})" if len(some) < len(arms) else "" for some in lacking]
    names = "; ".join(f"{one.what}{of_arms}" for one, of_arms in zip(missing, named, strict=True))
    lines = "\n".join(line for one in missing for line in one.lines)
    return [
        *whole,
        Section(
            "Not made yet", [Text(f"{names[0].upper()}{names[1:]}."), Fold("Commands that make it", [Code(lines)])]
        ),
    ]


def significance_line(collection: Collection) -> str:
    """Command that trains the arms over the seeds of the grid, or over five."""
    if collection.grid is not None:
        return collection.grid.command(collection.root)
    name = collection.runs[0].config.name
    given = [f"--config={name}", f"--arms={','.join(collection.by_arm)}", "--seeds=0-4", f"--root=runs/{name}-seeds"]
    return command_line("significance", *given)

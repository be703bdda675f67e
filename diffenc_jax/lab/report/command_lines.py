"""Shell commands that reproduce the contents of a page, and what is missing on it."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from diffenc_jax.config import flatten, installed_configs, load_config
from diffenc_jax.core.document import Code, Section, Text
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.report.collect import Collection, Run
from diffenc_jax.lab.report.html import Fold
from diffenc_jax.runs.workdir import CONFIG_FILE

# Keys that depend on the machine; `stored_config` does not fix them.
LEFT_OPEN = {"model.scan", "model.remat"}


def command_line(name: str, *arguments: Any) -> str:
    """'diffenc NAME ...', quoted."""
    return shlex.join(["diffenc", name, *map(str, arguments)])


def config_flags(run: Run) -> tuple[list[str], str]:
    """Flags that select a run's configuration, and a caution if they do not reproduce it, else ''.

    The flags name the installed configuration of the same name and override the keys in which the stored configuration
    differs from it.
    """
    config, stored = run.config, f"The configuration of {run.title} is {run.workdir / CONFIG_FILE}; the command"
    if config.name not in installed_configs():
        file = f"configs/{config.name}.py"
        caution = f"{stored} reads {file}, which is not installed here and may differ from it."
        return [f"--config={file}:{config.arm}"], caution
    wanted, spec = flatten(config.to_dict()), f"{config.name}:{config.arm}"
    try:
        given = _values(spec)
        changed = {key: value for key, value in wanted.items() if key in given and given[key] != value}
        overrides = [f"{key}={_typed(value)}" for key, value in changed.items() if key not in LEFT_OPEN]
        given = _values(spec, *overrides)
    except InputError as error:
        return [f"--config={spec}"], f"{stored} cannot make it: {error}."
    keys = (wanted.keys() | given.keys()) - LEFT_OPEN
    different = sorted(key for key in keys if given.get(key, ...) != wanted.get(key, ...))  # Ellipsis is no key's value
    caution = f"{stored} does not set its keys {', '.join(different)}." if different else ""
    return [f"--config={spec}", *(f"--config.{override}" for override in overrides)], caution


@cache
def _values(spec: str, *overrides: str) -> Mapping[str, Any]:
    """Values by key of an installed configuration; a page asks for the same ones many times."""
    return flatten(load_config(spec, overrides).to_dict())


def _typed(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)


def run_line(command: str, run: Run) -> str:
    """Line of 'train', 'eval' or 'sample' for a run."""
    if command == "train":
        return command_line(command, *config_flags(run)[0], f"--workdir={run.workdir}")
    return command_line(command, run.workdir)


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
    blocks = [Text(f"{names[0].upper()}{names[1:]}."), Fold("Commands that make it", [Code(lines)])]
    return [*whole, Section("Not made yet", blocks)]


def significance_line(collection: Collection) -> str:
    """Command that trains the arms over five seeds."""
    name = collection.runs[0].config.name
    root = collection.root or f"runs/{name}-seeds"
    given = [f"--config={name}", f"--arms={','.join(collection.by_arm)}", "--seeds=0-4", f"--root={root}"]
    return command_line("significance", *given)

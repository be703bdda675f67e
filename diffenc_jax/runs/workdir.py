"""A workdir: its name, its configuration, and the steps of its checkpoints."""

import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from diffenc_jax.config import Config
from diffenc_jax.config.sections import LEARNED
from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.typed import mismatch
from diffenc_jax.core.versions import OURS, Environment, package_version
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import (
    OTHER_WORKDIR,
    exists,
    free_path,
    is_folder,
    list_paths,
    read_json,
    sha256_of,
    write_json,
    writing,
)
from diffenc_jax.runs.lock import LOCK, Claim, locked

CONFIG_FILE, CHECKPOINTS = "config.json", "checkpoints"
# Files and folders of a run whose content other commands rely on.
OWN = (CONFIG_FILE, CHECKPOINTS, "commands.txt", "eval", "metrics.jsonl", "samples")
SEEN_SECONDS = 20.0  # within which all hosts must see what one of them writes
NAMED = ("name", "arm", "seed")  # keys that are in the name of every default workdir
# Keys that count only where a command or a call gives them, with their defaults.
NOT_KEPT = {"model.scan": False, "model.remat": None, "checkpoint.other_parts": False}
SHORT = re.compile(r"[\w.+-]{,44}")  # suffixes of default workdirs that are not replaced by a digest
MOST_NAMED = 6  # differences between two configurations that a message names


def default_workdir(config: Config, plain: Config) -> Path:
    """runs/NAME-ARM-seed<seed>, with a suffix where `config` computes something else than `plain`.

    The suffix consists of the changes, such as '-learning_rate-0.001', or of 6 hexadecimal digits if that were long.

    Args:
      plain: the configuration without the changes that were asked for, such as `--config.key=value`.
    """
    changes = {key: here for key, (here, _) in config.changes(plain).items() if key not in NAMED}
    suffix = "".join(f"-{'_'.join(key.split('.')[1:])}-{value}" for key, value in changes.items())
    if not SHORT.fullmatch(suffix):
        suffix = f"-{sha256_of(json.dumps(changes).encode())[:6]}"
    return Path("runs") / f"{config.name}-{config.arm}-seed{config.seed}{suffix}"


def holds_run(workdir: Path) -> bool:
    """Whether `workdir` holds a run, which may have no checkpoint yet."""
    return exists(workdir / CONFIG_FILE)


def find_workdirs(root: Path) -> list[Path]:
    """Sorted folders in `root` that hold a run; empty if there is no folder `root`."""
    return [folder for folder in list_paths(root, "*") if holds_run(folder)]


def saved_steps(workdir: Path) -> list[int]:
    """Steps of the checkpoints in `workdir`, increasing; no checkpoint is opened, so some may be damaged."""
    return sorted(int(path.name) for path in list_paths(workdir / CHECKPOINTS, "*") if path.name.isdecimal())


def check_workdir(workdir: Path, config: Config, must_exist: bool, advice: str = OTHER_WORKDIR) -> None:
    """Raise InputError unless `workdir` holds a run of `config`, or none yet although it need not exist.

    A run that must exist is only read. It may be evaluated with another `loss` than it was trained with, unless one of
    them learns the variance ratio, which is then among the parameters.

    Args:
      advice: end of the message: what to do about a workdir that cannot be used.
    """
    if not must_exist and not holds_run(workdir):
        require(is_folder(workdir) or not exists(workdir), f"{workdir} is not a folder; name a folder")
        require(not exists(workdir / CHECKPOINTS), f"{workdir} holds checkpoints but no {CONFIG_FILE}; {advice}")
        return
    stored = stored_config(workdir)
    different = config.differences(stored)
    if must_exist and LEARNED not in (config.loss.variance_ratio, stored.loss.variance_ratio):
        different = [line for line in different if not line.startswith("loss.")]
    different.sort(key=lambda line: line.partition("=")[0] not in NAMED)
    named = different[:MOST_NAMED] + ["..."] * (len(different) > MOST_NAMED)
    require(not different, f"{workdir} holds a run of another configuration: {'; '.join(named)}; {advice}")


def check_not_of_run(path: Path) -> None:
    """Raise InputError if a file that a command is to write lies where a run keeps its own; see `OWN`."""
    place = storage.identity(path)
    for folder in place.parents:
        is_own = place.relative_to(folder).parts[0] in OWN and holds_run(folder)
        require(not is_own, f"{path} is a place for files of the run in {folder} itself; name another file")


def set_aside(workdir: Path) -> Path | None:
    """Move the run in `workdir` to the first free one of WORKDIR.1, WORKDIR.2, ..., and return that; None without one.

    Every host must call this.

    Raises InputError if another process trains in it, or if it cannot be moved.
    """
    moved = ""
    if hosts.is_first() and (holds_run(workdir) or saved_steps(workdir)):
        with writing(workdir), locked(workdir):
            aside = free_path(workdir if workdir.name.strip(".") else storage.identity(workdir))
            storage.make_folder(aside)
            for path in storage.glob(workdir, "*"):
                if path.name != LOCK:
                    storage.move(path, aside / path.name)
            moved = str(aside)
    moved = hosts.broadcast(moved.encode()).decode()
    return as_path(moved) if moved else None


@dataclass(frozen=True)
class Origin:
    """Identity, environments and data of a run's training, as its config.json keeps them beside the configuration.

    Attributes:
      environments: those that the run was trained in, in their order; empty before its first step.
      training_data: digests of the training images and, for a model that reads them, of their labels, by 'images' and
        'labels'; empty for parameters that were not trained here.
      run: identity that the checkpoints have too, 16 random hexadecimal digits; empty before the first `write_config`.
    """

    environments: Sequence[Environment] = ()
    training_data: Mapping[str, str] = field(default_factory=dict)
    run: str = ""

    @property
    def version(self) -> str:
        """Version of this package that trained the last steps; empty if it is not known."""
        return self.environments[-1]["software"].get(OURS, "") if self.environments else ""


NO_ORIGIN = Origin()


class _Stored(TypedDict):
    """Entries of config.json beside the configuration; see `Origin`."""

    environments: NotRequired[list[Environment]]
    training_data: NotRequired[dict[str, str]]
    run: NotRequired[str]


def stored_config(workdir: Path) -> Config:
    """Configuration of the run in `workdir`, with the keys `NOT_KEPT` as by default.

    Raises InputError if there is no run, or if its configuration cannot be read.
    """
    path = workdir / CONFIG_FILE
    require(exists(path), f"{workdir} holds no run (no {CONFIG_FILE}); train one there, or give the folder of a run")
    stored, origin = _read_config(path)
    try:
        return Config.parse(stored).replace(NOT_KEPT)
    except InputError as error:
        version = other_version(origin.version)
        raise InputError(f"{path} is not a configuration of this program: {error}{version}") from error


def stored_origin(workdir: Path) -> Origin:
    """The origin of the run in `workdir`, an empty one without a run. Raises InputError as `stored_config` does."""
    return _read_config(workdir / CONFIG_FILE)[1] if holds_run(workdir) else NO_ORIGIN


def other_version(version: str) -> str:
    """'; it was trained at ...': part of a message about a run that another version of this package has trained."""
    ours = package_version()
    return "" if version in ("", ours) else f"; it was trained at {OURS} {version}, and this is {ours}"


def _read_config(path: Path) -> tuple[dict[str, Any], Origin]:
    """The unchecked configuration in a config.json, and the origin beside it. Raises InputError."""
    stored = read_json(path)
    wrong = mismatch(stored, _Stored)
    require(wrong is None, f"{path} is damaged, or of another version of {OURS}: {wrong or 'it'} is wrong; restore it")
    return stored, Origin(**{key: stored.pop(key) for key in vars(NO_ORIGIN) if key in stored})


def write_config(workdir: Path, config: Config, origin: Origin = NO_ORIGIN) -> None:
    """Store the configuration of the run in `workdir`, with a new identity unless `origin` has one.

    Raises InputError if it cannot be written.
    """
    run = {"run": origin.run or secrets.token_hex(8)}
    with writing(workdir):
        write_json(workdir / CONFIG_FILE, config.to_dict() | vars(origin) | run)


@contextmanager
def claimed(workdir: Path, config: Config) -> Iterator[Claim]:
    """Store the configuration and hold the workdir's lock, both on the first host. Every host must call this.

    Raises InputError if another process holds the lock, if the workdir cannot be written to, or if a host sees another
    folder by the same name.
    """
    with ExitStack() as stack:
        claim = Claim()
        if hosts.is_first():
            with writing(workdir):
                claim = stack.enter_context(locked(workdir))
            write_config(workdir, config, stored_origin(workdir))
        _check_seen_by_all(workdir)
        yield claim


def _check_seen_by_all(workdir: Path) -> None:
    """Raise InputError unless all hosts see what the first one writes to `workdir`. Every host must call this."""
    names = hosts.gather_text(f"{socket.gethostname()}, process {os.getpid()}")
    if len(names) == 1:
        return
    token = workdir / hosts.broadcast(f".seen-{secrets.token_hex(8)}".encode()).decode()
    if hosts.is_first():
        storage.write(token, b"")
    hosts.broadcast(b"")  # it is written
    patience = time.monotonic() + SEEN_SECONDS
    while not (is_seen := exists(token)) and time.monotonic() < patience:
        time.sleep(0.5)  # a network file system may show it late
    blind = [name for name, seen in zip(names, hosts.gather_text(str(is_seen)), strict=True) if seen != str(True)]
    if hosts.is_first():
        storage.delete(token)
    require(
        not blind,
        f"{workdir} is another folder on {'; '.join(blind)} than on {names[0]}; give a shared folder, or gs://B/RUN",
    )

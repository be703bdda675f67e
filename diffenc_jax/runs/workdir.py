"""Workdirs: their default names, the files that belong to a run, and the lock of the process that trains."""

import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from diffenc_jax.config import Config
from diffenc_jax.config.schema import json_digest
from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.errors import require
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import exists, free_path, writing
from diffenc_jax.runs.lock import LOCK, WorkdirLock, locked
from diffenc_jax.runs.stored import CHECKPOINTS, CONFIG_FILE, NAMED, StoredRun

# Files and folders of a run whose content other commands rely on.
OWN = (CONFIG_FILE, CHECKPOINTS, "commands.txt", "eval", "metrics.jsonl", "samples")
SEEN_SECONDS = 20.0  # within which all hosts must see what one of them writes
SHORT = re.compile(r"[\w.+-]{,44}")  # suffixes of default workdirs that are not replaced by a digest


def default_workdir(config: Config, plain: Config) -> Path:
    """runs/NAME-ARM-seed<seed>, with a suffix if `config` computes something else than `plain`.

    The suffix consists of the changes, such as '-learning_rate-0.001', or of 6 hexadecimal digits if they are too long.

    Args:
      plain: the configuration without the changes that were asked for, such as `--config.key=value`.
    """
    changes = {key: here for key, (here, _) in config.changes(plain).items() if key not in NAMED}
    suffix = "".join(f"-{'_'.join(key.split('.')[1:])}-{value}" for key, value in changes.items())
    if not SHORT.fullmatch(suffix):
        suffix = f"-{json_digest(changes)[:6]}"
    return Path("runs") / f"{config.name}-{config.arm}-seed{config.seed}{suffix}"


def check_not_of_run(path: Path) -> None:
    """Raise InputError if `path`, which a command is to write, is among the files `OWN` of a run."""
    place = storage.identity(path)
    for folder in place.parents:
        is_own = place.relative_to(folder).parts[0] in OWN and StoredRun(folder).exists
        require(not is_own, f"{path} is reserved for the run in {folder}; name another file")


def set_aside(workdir: Path) -> Path | None:
    """Move the run in `workdir` to the first free folder of WORKDIR.1, WORKDIR.2, ...

    Every host must call this. Returns the new folder, or None if there is no run.

    Raises InputError if another process trains in it, or if it cannot be moved.
    """
    moved, run = "", StoredRun(workdir)
    if hosts.is_first() and (run.exists or run.steps()):
        with writing(workdir), locked(workdir):
            aside = free_path(workdir if workdir.name.strip(".") else storage.identity(workdir))
            storage.make_folder(aside)
            for path in storage.glob(workdir, "*"):
                if path.name != LOCK:
                    storage.move(path, aside / path.name)
            moved = str(aside)
    moved = hosts.broadcast(moved.encode()).decode()
    return as_path(moved) if moved else None


@contextmanager
def locked_run(workdir: Path, config: Config) -> Iterator[tuple[WorkdirLock, StoredRun]]:
    """Store the configuration and hold the workdir's lock, both on the first host. Every host must call this.

    Yields:
      The lock, and the run as it is read under the lock.

    Raises InputError if another process holds the lock, if the workdir cannot be written to, or if a host sees another
    folder by the same name.
    """
    with ExitStack() as stack:
        lock, run = WorkdirLock(), StoredRun(workdir)
        if hosts.is_first():
            with writing(workdir):
                lock = stack.enter_context(locked(workdir))
            run.write(config, run.origin)
        _check_seen_by_all(workdir)
        yield lock, run


def _check_seen_by_all(workdir: Path) -> None:
    """Raise InputError unless all hosts see what the first one writes to `workdir`. Every host must call this."""
    names = hosts.gather_text(f"{socket.gethostname()}, process {os.getpid()}")
    if len(names) == 1:
        return
    token = workdir / f".seen-{secrets.token_hex(8)}"
    if hosts.is_first():
        storage.write(token, b"")
    token = workdir / hosts.broadcast(token.name.encode()).decode()
    patience = time.monotonic() + SEEN_SECONDS
    while not (is_seen := exists(token)) and time.monotonic() < patience:
        time.sleep(0.5)  # a network file system may show it late
    blind = [name for name, seen in zip(names, hosts.gather_text(str(is_seen)), strict=True) if seen != str(True)]
    if hosts.is_first():
        storage.delete(token)
    other = f"{workdir} is another folder on {'; '.join(blind)} than on {names[0]}"
    require(not blind, f"{other}; give a shared folder, or gs://B/RUN")

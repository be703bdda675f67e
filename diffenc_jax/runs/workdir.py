"""A workdir: its configuration, the steps of its checkpoints, and the lock that one training process holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from diffenc_jax.config import Config
from diffenc_jax.config.sections import LEARNED
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.parallel import hosts
from diffenc_jax.runs.files import list_paths, read_json, write_json, writing

CONFIG_FILE, LOCK_FILE, CHECKPOINTS = "config.json", ".lock", "checkpoints"


def default_workdir(config: Config) -> Path:
    """runs/NAME-arm-seed<seed>."""
    return Path("runs") / f"{config.name}-{config.arm}-seed{config.seed}"


def holds_run(workdir: Path) -> bool:
    """Whether `workdir` holds a run, which may have no checkpoint yet."""
    return (workdir / CONFIG_FILE).exists()


def find_workdirs(root: Path) -> list[Path]:
    """Sorted folders in `root` that hold a run; empty if there is no folder `root`."""
    return [path.parent for path in list_paths(root, f"*/{CONFIG_FILE}")]


def saved_steps(workdir: Path) -> list[int]:
    """Steps of the checkpoints in `workdir`, increasing; no checkpoint is opened, so some may be damaged."""
    return sorted(int(path.name) for path in list_paths(workdir / CHECKPOINTS, "*") if path.name.isdecimal())


def check_workdir(workdir: Path, config: Config, must_exist: bool) -> None:
    """Raise InputError unless `workdir` holds a run of `config`, or none yet although it need not exist.

    A run that must exist is only read. It may be evaluated with another `loss` than it was trained with, unless one of
    them learns the variance ratio, which is then among the parameters.
    """
    if not must_exist and not holds_run(workdir):
        require(workdir.is_dir() or not workdir.exists(), f"{workdir} is not a folder; give another --workdir")
        require(
            not (workdir / CHECKPOINTS).exists(),
            f"{workdir} holds checkpoints but no {CONFIG_FILE}; give another --workdir",
        )
        return
    stored = stored_config(workdir)
    different = config.differences(stored)
    if must_exist and LEARNED not in (config.loss.variance_ratio, stored.loss.variance_ratio):
        different = [line for line in different if not line.startswith("loss.")]
    require(
        not different, f"{workdir} holds a run of another configuration: {'; '.join(different)}; give another --workdir"
    )


def stored_config(workdir: Path) -> Config:
    """Configuration of the run in `workdir`, with `model.scan` and `model.remat` left to this machine.

    Raises InputError if there is no run, or if its configuration cannot be read.
    """
    path = workdir / CONFIG_FILE
    require(path.exists(), f"{workdir} holds no run (no {CONFIG_FILE}); train one there, or give another --workdir")
    stored = read_json(path)
    require(isinstance(stored, dict), f"{path} is not a configuration")
    try:
        return Config.parse(stored).replace({"model.scan": None, "model.remat": None})
    except InputError as error:
        raise InputError(f"{path} is not a configuration of this program: {error}") from error


def write_config(workdir: Path, config: Config) -> None:
    """Store the configuration of the run in `workdir`; raises InputError if it cannot be written."""
    with writing(workdir):
        write_json(workdir / CONFIG_FILE, config.to_dict())


@contextmanager
def claimed(workdir: Path, config: Config) -> Iterator[None]:
    """Store the configuration and hold the workdir's lock on the first host. A process that is killed holds no lock.

    Raises InputError if another process holds the lock, or if the workdir cannot be written to.
    """
    if not hosts.is_first():
        yield
        return
    with writing(workdir):
        try:
            lock = FileLock(workdir / LOCK_FILE).acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"another process trains in {workdir}; wait for it, or give another --workdir") from error
    with lock:
        write_config(workdir, config)
        yield

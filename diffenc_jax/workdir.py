"""A workdir: the configuration that it belongs to, and the metrics of its run."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout
from ml_collections import ConfigDict

from diffenc_jax.config import LEARNED, completed, differences, require
from diffenc_jax.errors import InputError

CONFIG_FILE, METRICS_FILE, LOCK_FILE = "config.json", "metrics.jsonl", ".lock"
# What to do about a folder that cannot be written to.
OTHER_WORKDIR, MAKE_WRITABLE = "give another --workdir", "make it writable"
TOTAL = "_total"  # how the bits/dim of a split are called among the metrics
Row = dict[str, float]


def default_workdir(config: ConfigDict) -> Path:
    """runs/NAME-arm-seed<seed>."""
    return Path("runs") / f"{config.name}-{config.arm}-seed{config.seed}"


def check(workdir: Path, config: ConfigDict, must_exist: bool) -> None:
    """Raises InputError if `workdir` holds a run of another configuration, or none where one `must_exist`.

    Where it must exist it is only read, and may be looked at by another `loss` than it was trained
    with, unless a learned ratio is among the parameters.
    """
    if not must_exist and not (workdir / CONFIG_FILE).exists():
        require(workdir.is_dir() or not workdir.exists(), f"{workdir} is not a folder; give another --workdir")
        require(
            not (workdir / "checkpoints").exists(),
            f"{workdir} holds checkpoints but no {CONFIG_FILE} to say whose; give another --workdir",
        )
        return
    stored = read(workdir)
    different = differences(config, stored)
    ratios = config.loss.variance_ratio, stored.get("loss", {}).get("variance_ratio")
    if must_exist and LEARNED not in ratios:
        different = [line for line in different if not line.startswith("loss.")]
    require(
        not different,
        f"{workdir} holds a run of another configuration: {'; '.join(different)}; give another --workdir",
    )


def read(workdir: Path) -> dict[str, Any]:
    """The configuration that `workdir` is a run of.

    Raises:
      InputError: it holds none.
    """
    path = workdir / CONFIG_FILE
    require(path.exists(), f"{workdir} holds no run (no {CONFIG_FILE}); train one there first, or give its --workdir")
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    require(isinstance(stored, dict), f"{path} holds no configuration")
    return stored


def configuration(workdir: Path) -> ConfigDict:
    """The same, to build from; see `config.completed`."""
    return completed(read(workdir))


def claim(workdir: Path, config: ConfigDict) -> None:
    """Writes the configuration that `workdir` is from now on a run of.

    Raises:
      InputError: nothing can be written there.
    """
    text = json.dumps(json.loads(config.to_json_best_effort()), indent=1, sort_keys=True) + "\n"
    with writing(workdir):
        replace(workdir / CONFIG_FILE, text)


@contextmanager
def claimed(workdir: Path, config: ConfigDict) -> Iterator[None]:
    """Claims `workdir`, and holds it, on the first host, against other processes; one that is killed holds nothing.

    Raises:
      InputError: another holds it, or nothing can be written there.
    """
    from diffenc_jax import hosts  # imports JAX, for which --help should not wait

    if not hosts.is_first():
        yield
        return
    try:
        with writing(workdir):
            held = FileLock(workdir / LOCK_FILE).acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another process trains in {workdir}; wait for it, or give another --workdir") from error
    with held:
        claim(workdir, config)
        yield


def check_writable(folder: Path, advice: str = OTHER_WORKDIR) -> None:
    """Makes `folder` unless it is there; raises InputError if nothing can be written to it, and gives `advice`."""
    with writing(folder, advice), tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def writing(folder: Path, advice: str = OTHER_WORKDIR) -> Iterator[None]:
    """Makes the folder, and says in an InputError if what is written there cannot be, with `advice`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except Timeout:
        raise
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror}; {advice}") from error


def metrics(workdir: Path) -> list[Row]:
    """The objects of metrics.jsonl, none where there is none; a line that a crash cut short is passed over."""
    path, rows = workdir / METRICS_FILE, []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def evaluated(workdir: Path) -> dict[int, float]:
    """Bits/dim of the steps that training has evaluated."""
    totals = [(row["step"], value) for row in metrics(workdir) for name, value in row.items() if name.endswith(TOTAL)]
    return dict(totals)


def replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """To write into; it is at `path` when all has been written, and not before."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    with temporary.open("wb") as file:
        yield file
    temporary.replace(path)

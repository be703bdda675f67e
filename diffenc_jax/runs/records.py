"""Records of evaluations: their names, and the values [passes, images] beside them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from diffenc_jax.core.errors import InputError, require
from diffenc_jax.parallel import hosts
from diffenc_jax.runs.files import (
    TEXT_BYTES,
    digest_of,
    exists,
    is_archive,
    list_paths,
    opened,
    opened_if_present,
    parse_json,
    read_arrays,
    read_if_present,
    read_json,
    sha256_of,
    write_arrays,
    write_json,
)
from diffenc_jax.runs.record_types import ADVICE, TOTAL, Record, checked_record

EVAL_FOLDER = "eval"
# Entries that determine the values of an evaluation.
IDENTITY = ("step", "config_hash", "dataset", "estimator", "params_sha256", "parts")
# Largest difference by rounding between the mean of the values and the record's total.
TOLERANCE = 1e-6


class Evaluation(NamedTuple):
    """The record at `path`, and the values beside it: `bits` [passes, images], bits/dim, the sum of all terms."""

    path: Path
    record: Record
    bits: np.ndarray

    @property
    def replicates(self) -> int | None:
        """Number of independent replicates among the passes; None for a single pass."""
        return self.record["estimator"]["replicates"]


def record_path(workdir: Path, description: Mapping[str, Any], estimator: str, folder: str = EVAL_FOLDER) -> Path:
    """WORKDIR/eval/<split>-<step>-<estimator>-<digest>.json, with a digest of the entries `IDENTITY`."""
    split, step = description["dataset"]["split"], description["step"]
    return workdir / folder / f"{split}-{step}-{estimator}-{_digest(description)}.json"


def record_paths(workdir: Path, split: str = "*", step: int | str = "*", folder: str = EVAL_FOLDER) -> list[Path]:
    """Sorted paths of a workdir's records, of one split and step if given."""
    return list_paths(workdir / folder, f"{split}-{step}-*.json")


def last_record(workdir: Path) -> Path:
    """The record of a run's last evaluated step and, of several, the one with most passes.

    Raises InputError if there is none, or more than one.
    """
    by_length: dict[tuple[int, int], list[Path]] = {}
    for path in record_paths(workdir):
        record = read_record(path)
        by_length.setdefault((record["step"], record["estimator"]["passes"]), []).append(path)
    require(bool(by_length), f"{workdir} has no records; evaluate the run with diffenc eval, or {ADVICE}")
    (step, passes), paths = max(by_length.items())
    names = ", ".join(map(str, paths))
    require(len(paths) == 1, f"{workdir} has several records of step {step} in {passes} passes; give one of {names}")
    return paths[0]


def find_record(path: Path, description: Mapping[str, Any]) -> Record | None:
    """The record at `path` if it has its values and the identity of `description`; every host must call this."""
    content = hosts.broadcast(_content_of(path, description) if hosts.is_first() else b"")
    return json.loads(content) if content else None


def _content_of(path: Path, description: Mapping[str, Any]) -> bytes:
    """`find_record` as the content of its file; empty without that record. Raises InputError for what is no file."""
    content = read_if_present(path, TEXT_BYTES)
    try:
        value = parse_json(content)
        if _digest(value) != _digest(description):
            return b""
        record = checked_record(path, value)
    except (ValueError, AttributeError):  # no record, a damaged one, or another JSON value
        return b""
    return content if record["values_sha256"] == _digest_of_values(path, record) else b""


def write_record(path: Path, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Record:
    """Write the arrays beside a record, and the record with their digest, on the first host; every host must call this.

    Returns:
      The record as it is written.
    """
    digest = write_arrays(path.with_suffix(".npz"), **arrays) if hosts.is_first() else ""
    written = {**record, "values_sha256": hosts.broadcast(digest.encode()).decode()}
    if hosts.is_first():
        write_json(path, written)
    return cast(Record, written)


def read_record(path: Path) -> Record:
    """The record at `path`; raises InputError if there is no complete record."""
    return checked_record(path, read_json(path, ADVICE))


def read_evaluation(path: Path) -> Evaluation:
    """The record at `path` and its values; raises InputError if one is missing or they do not belong together."""
    return with_values(path, read_record(path))


def with_values(path: Path, record: Record) -> Evaluation:
    """The `record` at `path` with its values; raises InputError if they are missing or of another evaluation."""
    arrays, digest = _arrays_and_digest(path, record)
    bits = _nats(path, record, arrays) / (record["dataset"]["dims"] * math.log(2))
    total = record["bpd"]["total"]
    require(
        np.isclose(bits.mean(), total, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True),
        f"{path} says {total:.6f} bits/dim, but its .npz {bits.mean():.6f}; they are of two evaluations",
    )
    require(
        record["values_sha256"] == digest,
        f"{path.with_suffix('.npz')} was changed after {path} was written; evaluate again",
    )
    return Evaluation(path, record, bits)


def read_values(path: Path) -> dict[str, np.ndarray]:
    """Arrays beside the record at `path`; raises InputError if they are missing or damaged."""
    return _arrays_and_digest(path, read_record(path))[0]


def _arrays_and_digest(path: Path, record: Record) -> tuple[dict[str, np.ndarray], str]:
    """`read_values`, and the SHA-256 digest of their file."""
    values = path.with_suffix(".npz")
    require(exists(values), f"{values} is missing: it holds the values of {path}; keep both together")
    with opened(values, "evaluate again", most_bytes(*_shape(record))) as file:
        arrays = read_arrays(file)
        if arrays is None:
            raise InputError(f"{values} cannot be read as .npz; evaluate again")
        return arrays, digest_of(file)


def _digest_of_values(path: Path, record: Record) -> str | None:
    """The digest of the file of values beside the record at `path`; None if there is none, or no archive."""
    with opened_if_present(path.with_suffix(".npz"), "delete it", most_bytes(*_shape(record))) as file:
        return digest_of(file) if is_archive(file) else None


def most_bytes(passes: int, images: int) -> int:
    """Bytes that the file of an evaluation's values, and of the tables behind them, never exceeds."""
    return 2**30 + 2**8 * passes * images


def _shape(record: Record) -> tuple[int, int]:
    return record["estimator"]["passes"], record["dataset"]["num_examples"]


def _nats(path: Path, record: Record, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """[passes, images], the sum of the record's terms in `arrays`."""
    shape, values = _shape(record), path.with_suffix(".npz")
    terms = sorted(record["bpd"].keys() - {TOTAL})
    for term in terms:
        require(term in arrays, f"{values} lacks the term {term} of {path}")
        nats = arrays[term]
        require(nats.dtype == np.float64, f"{values}: {term} is {nats.dtype}, not float64; evaluate again")
        require(nats.shape == shape, f"{values}: {term} is {list(nats.shape)}, but {path} says {list(shape)}")
    return np.sum([arrays[term] for term in terms], axis=0)


def _digest(record: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the entries `IDENTITY`."""
    text = json.dumps({key: record.get(key) for key in IDENTITY}, sort_keys=True)
    return sha256_of(text.encode())[:12]

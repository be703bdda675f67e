"""Records of evaluations: their names, their required entries, and the values [passes, images] beside them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.core.errors import InputError, require
from diffenc_jax.parallel import hosts
from diffenc_jax.runs.files import (
    exists,
    list_paths,
    read_arrays,
    read_bytes,
    read_if_present,
    read_json,
    sha256_of,
    write_arrays,
    write_json,
)

EVAL_FOLDER = "eval"
# Entries that determine the values of an evaluation.
IDENTITY = ("step", "config_hash", "dataset", "estimator")
# Entries that `read_record` requires, and their types.
REQUIRED = {
    "step": int,
    "seed": int,
    "arm": str,
    "dataset.name": str,
    "dataset.version": str,
    "dataset.split": str,
    "dataset.num_examples": int,
    "dataset.dims": int,
    "dataset.sha256": str,
    "dataset.sha256_any_order": str,
    "dataset.known_as": dict | None,
    "estimator.kind": str,
    "estimator.passes": int,
    "estimator.replicates": int | None,
    "estimator.seed": int,
    "bpd.total": float,
    "software": dict,
    "device": str,
    "values_sha256": str,
}
# Largest difference by rounding between the mean of the values and the record's total.
TOLERANCE = 1e-6
ADVICE = "give a record such as eval/*.json"


class Evaluation(NamedTuple):
    """The record at `path`, and the values beside it: `bits` [passes, images], bits/dim, the sum of all terms."""

    path: Path
    record: dict[str, Any]
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


def find_record(path: Path, description: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record at `path` if it has its values and the identity of `description`; every host must call this."""
    content, values = (read_if_present(p) if hosts.is_first() else b"" for p in (path, path.with_suffix(".npz")))
    try:
        record = json.loads(content)
        found = record["values_sha256"] == sha256_of(values) and _digest(record) == _digest(description)
    except (ValueError, AttributeError, KeyError, TypeError):  # no record, a damaged one, or another JSON value
        found = False
    content = hosts.broadcast(content if found else b"")
    return json.loads(content) if content else None


def write_record(path: Path, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Write the arrays beside a record, and the record with their digest, on the first host; every host must call this.

    Returns:
      The record as it is written.
    """
    digest = write_arrays(path.with_suffix(".npz"), **arrays) if hosts.is_first() else ""
    written = {**record, "values_sha256": hosts.broadcast(digest.encode()).decode()}
    if hosts.is_first():
        write_json(path, written)
    return written


def read_record(path: Path) -> dict[str, Any]:
    """The record at `path`; raises InputError if there is no complete record."""
    record = read_json(path, ADVICE)
    for key, kind in REQUIRED.items():
        require(isinstance(_entry(record, key), kind), f"{path} is not a complete record: it lacks {key}; {ADVICE}")
    passes, replicates = record["estimator"]["passes"], record["estimator"]["replicates"]
    require(
        min(passes, record["dataset"]["num_examples"], record["dataset"]["dims"]) >= 1,
        f"{path} evaluates nothing: passes, num_examples and dims must be at least 1",
    )
    require(
        replicates is None or (replicates >= 2 and passes % replicates == 0),
        f"{path} says {replicates} replicates of {passes} passes; they must be a divisor above 1",
    )
    return record


def read_evaluation(path: Path) -> Evaluation:
    """The record at `path` and its values; raises InputError if one is missing or they do not belong together."""
    return with_values(path, read_record(path))


def with_values(path: Path, record: dict[str, Any]) -> Evaluation:
    """The `record` at `path` with its values; raises InputError if they are missing or of another evaluation."""
    arrays, digest = _arrays_and_digest(path)
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
    return _arrays_and_digest(path)[0]


def _arrays_and_digest(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """`read_values`, and the SHA-256 digest of their file."""
    values = path.with_suffix(".npz")
    require(exists(values), f"{values} is missing: it holds the values of {path}; keep both together")
    content = read_bytes(values)
    arrays = read_arrays(content)
    if arrays is None:
        raise InputError(f"{values} cannot be read as .npz; evaluate again")
    return arrays, sha256_of(content)


def _nats(path: Path, record: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """[passes, images], the sum of the record's terms in `arrays`."""
    shape = record["estimator"]["passes"], record["dataset"]["num_examples"]
    total = np.zeros(shape)
    for term in record["bpd"].keys() - {"total"}:
        require(term in arrays, f"{path.with_suffix('.npz')} lacks the term {term} of {path}")
        nats = arrays[term]
        require(
            nats.shape == shape,
            f"{path.with_suffix('.npz')}: {term} is {list(nats.shape)}, but {path} says {list(shape)}",
        )
        total += nats
    return total


def _entry(record: Any, key: str) -> Any:
    """Value at a dotted key; Ellipsis, which is no JSON value, if there is none."""
    for part in key.split("."):
        if not isinstance(record, dict) or part not in record:
            return ...
        record = record[part]
    return record


def _digest(record: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the entries `IDENTITY`."""
    text = json.dumps({key: record.get(key) for key in IDENTITY}, sort_keys=True)
    return sha256_of(text.encode())[:12]

"""Records of evaluations: their names, and the values [passes, images] beside them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from diffenc_jax.config.schema import json_digest
from diffenc_jax.core.errors import require
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import files
from diffenc_jax.runs.record_types import ADVICE, BOUND, BY_DEPTH, TOTAL, Record, checked_record

EVAL_FOLDER = "eval"
TRUE_BITS = "true_bits"  # name of the array with the true bits/dim of each image, if they are known
# Entries that determine the values of an evaluation.
IDENTITY = ("step", "config_hash", "dataset", "estimator", "params_sha256", "parts")


class Evaluation(NamedTuple):
    """The record at `path`, and the values beside it.

    Attributes:
      bits: bits/dim [passes, images], the sum of all terms.
      true_bits: true bits/dim [images]; None if they are unknown.
    """

    path: Path
    record: Record
    bits: np.ndarray
    true_bits: np.ndarray | None = None

    @property
    def replicates(self) -> int | None:
        """Number of independent replicates among the passes; None for a single pass."""
        return self.record["estimator"]["replicates"]


def record_path(workdir: Path, description: Mapping[str, Any], estimator: str, folder: str = EVAL_FOLDER) -> Path:
    """WORKDIR/eval/<split>-<step>-<estimator>-<digest>.json, with a digest of the entries `IDENTITY`."""
    split, step = description["dataset"]["split"], description["step"]
    return workdir / folder / f"{split}-{step}-{estimator}-{_digest(description)}.json"


def find_evaluation(path: Path, description: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation at `path` if its record has the identity of `description`; every host must call this."""
    contents = _contents_of(path, description) if hosts.is_first() else (b"", b"")
    content, values = map(hosts.broadcast, contents)
    return _evaluation(path, json.loads(content), files.read_arrays(values) or {}) if content else None


def _contents_of(path: Path, description: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Contents of the record's file and of the file of its values; both empty unless both belong to `description`.

    Raises InputError if a path is not a file.
    """
    content = files.read_if_present(path)
    try:
        record = checked_record(path, files.parse_json(content))
    except ValueError:  # no record, or a damaged one
        return b"", b""
    values = files.read_if_present(path.with_suffix(".npz"), "delete it")
    is_found = _digest(record) == _digest(description) and files.sha256_of(values) == record["values_sha256"]
    return (json.dumps(record).encode(), values) if is_found else (b"", b"")


def write_record(path: Path, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Evaluation:
    """Write the arrays beside a record, and the record with their digest, on the first host.

    Every host must call this. Returns the evaluation, with the record as it is written.
    """
    digest = files.write_arrays(path.with_suffix(".npz"), **arrays) if hosts.is_first() else ""
    written = {**record, "values_sha256": hosts.broadcast(digest.encode()).decode()}
    if hosts.is_first():
        files.write_json(path, written)
    return _evaluation(path, cast(Record, written), arrays)


def read_record(path: Path) -> Record:
    """The record at `path`; raises InputError if there is no complete record."""
    return checked_record(path, files.read_json(path, ADVICE))


def read_evaluation(path: Path, record: Record | None = None) -> Evaluation:
    """The evaluation at `path`; `record` is read unless it is given. Raises InputError as `read_values` does."""
    record = record or read_record(path)
    return _evaluation(path, record, read_values(path, record))


def _evaluation(path: Path, record: Record, arrays: Mapping[str, np.ndarray]) -> Evaluation:
    with np.errstate(invalid="ignore"):  # infinite terms may cancel
        nats = np.sum(list(terms_of(path, record, arrays).values()), axis=0)
    return Evaluation(path, record, nats / (record["dataset"]["dims"] * math.log(2)), arrays.get(TRUE_BITS))


def terms_of(path: Path, record: Record, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Nats [passes, images] by term, of the arrays beside the `record` at `path`; InputError if they lack a term."""
    shape = record["estimator"]["passes"], record["dataset"]["num_examples"]
    terms = [name for name in record["bpd"] if name != TOTAL]
    fits = all(name in arrays and (arrays[name].dtype, arrays[name].shape) == (np.float64, shape) for name in terms)
    require(fits, f"{path.with_suffix('.npz')} does not hold the terms of {path} in float64 {list(shape)}")
    return {name: arrays[name] for name in terms}


def read_values(path: Path, record: Record | None = None) -> dict[str, np.ndarray]:
    """Arrays beside the record at `path`; raises InputError if they are missing or of another evaluation."""
    values, record = path.with_suffix(".npz"), record or read_record(path)
    content = files.read_bytes(values, f"it holds the values of {path}: keep both together, or evaluate again")
    same = files.sha256_of(content) == record["values_sha256"]
    require(same, f"{values} was changed after {path} was written, or is damaged; evaluate again")
    return files.read_arrays(content) or {}


def _digest(record: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the entries `IDENTITY`, in which the bound's kind has a name by its depth."""
    entries: dict[str, Any] = {key: record.get(key) for key in IDENTITY}
    if entries["estimator"]["kind"] == BOUND:
        kind = BY_DEPTH[entries["estimator"].get("depth") is None]
        entries["estimator"] = entries["estimator"] | {"kind": kind}
    return json_digest(entries)[:12]

"""Entries of a record that its readers rely on, and their check. Estimators add settings and diagnostics."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from diffenc_jax.core.errors import require
from diffenc_jax.core.typed import mismatch

ADVICE = "give a record such as eval/*.json"
TOTAL = "total"  # in `bpd`, beside the terms


KnownAs = TypedDict("KnownAs", {"as": str, "by": str})  # see `fingerprints.known_as`


class DatasetEntry(TypedDict):
    """The evaluated images, see `Dataset.fingerprint`."""

    name: str
    version: str
    split: str
    num_examples: int
    dims: int
    sha256: str
    sha256_any_order: str
    known_as: KnownAs | None
    labels_sha256: NotRequired[str]


class EstimatorEntry(TypedDict):
    """The estimator; `replicates` is the number of independent replicates among the passes, None for a single pass."""

    kind: str
    passes: int
    replicates: int | None
    seed: int


class Errors(TypedDict):
    """Standard errors in bits/dim over the noise, over the images, and over both, where they can be estimated."""

    noise: float | None
    images: float | None
    total: float | None


class TotalErrors(Errors):
    """Those of the total, and `terms`, those of each term."""

    terms: dict[str, Errors]


class Record(TypedDict):
    """The record of an evaluation: `bpd` are bits/dim in total and by term. On disk it has the digest of its values."""

    step: int
    seed: int
    arm: str
    config_hash: str
    augmentation: NotRequired[str]
    dataset: DatasetEntry
    estimator: EstimatorEntry
    bpd: dict[str, float]
    standard_error: TotalErrors
    params: int
    params_sha256: str
    seconds: float
    software: dict[str, str]
    parts: dict[str, str]
    device: str
    values_sha256: NotRequired[str]


def checked_record(path: Path, value: Any) -> Record:
    """The `value` of the JSON file at `path`; raises InputError unless it is a complete record."""
    _check(path, "", value, Record)
    record = cast(Record, value)
    _check(path, "values_sha256", record.get("values_sha256"), str)
    require(TOTAL in record["bpd"] and len(record["bpd"]) > 1, _incomplete(path, "bpd.total and a term"))
    for term in record["bpd"].keys() - {TOTAL}:
        _check(path, f"standard_error.terms.{term}", record["standard_error"]["terms"].get(term), Errors)
    passes, replicates = record["estimator"]["passes"], record["estimator"]["replicates"]
    require(
        min(passes, record["dataset"]["num_examples"], record["dataset"]["dims"]) >= 1,
        f"{path} evaluates nothing: passes, num_examples and dims must be at least 1",
    )
    require(
        replicates is None or (replicates >= 2 and passes % replicates == 0),
        f"{path} says {replicates} replicates of {passes} passes; they must be a divisor above 1",
    )
    require(min(record["step"], record["seed"]) >= 0, f"{path} has a negative step or seed; {ADVICE}")
    return record


def _check(path: Path, name: str, value: Any, kind: Any) -> None:
    """Raise InputError unless the entry `name` is of this type."""
    wrong = mismatch(value, kind, name)
    require(wrong is None, _incomplete(path, wrong or ""))


def _incomplete(path: Path, name: str) -> str:
    return f"{path} is not a complete record: it lacks {name}, or has another kind of value there; {ADVICE}"

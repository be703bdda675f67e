"""Entries of a record that its readers rely on, and their check."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffenc_jax.core.errors import require

ADVICE = "give a record such as eval/*.json"
NUMBER = int | float
# Types of the entries that every record has, by dotted key.
REQUIRED = {
    "step": int,
    "seed": int,
    "arm": str,
    "config_hash": str,
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
    "bpd.total": NUMBER,
    "standard_error.terms": dict,
    "params": int,
    "params_sha256": str,
    "seconds": NUMBER,
    "software": dict,
    "parts": dict,
    "device": str,
    "values_sha256": str,
}
ERRORS = ("noise", "images", "total")  # sources of the standard errors of the total and of each term


def check_record(path: Path, record: Any) -> None:
    """Raise InputError unless `record`, the value of the JSON file at `path`, is a complete record."""
    for name, kind in REQUIRED.items():
        _check_entry(path, record, name.split("."), kind)
    for key, kind in _further(record):
        _check_entry(path, record, key, kind)
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
    require(len(record["bpd"]) > 1, f"{path} is not a complete record: it has no term of bpd; {ADVICE}")


def _further(record: dict[str, Any]) -> Iterator[tuple[list[str], Any]]:
    """Keys and types of the entries that depend on the others."""
    for source in ERRORS:
        yield ["standard_error", source], NUMBER | None
    for term in record["bpd"].keys() - {"total"}:
        yield ["bpd", term], NUMBER
        for source in ERRORS:
            yield ["standard_error", "terms", term, source], NUMBER | None
    if "augmentation" in record:  # of the training images, if there is one
        yield ["augmentation"], str
    for table in ("software", "parts"):
        for name in record[table]:
            yield [table, name], str
    if record["dataset"]["known_as"] is not None:
        yield ["dataset", "known_as", "as"], str
        yield ["dataset", "known_as", "by"], str


def _check_entry(path: Path, record: Any, key: list[str], kind: Any) -> None:
    """Raise InputError unless the record has an entry of this type at `key`."""
    for part in key:
        record = record.get(part, ...) if isinstance(record, dict) else ...  # Ellipsis is no JSON value
    is_right = isinstance(record, kind) and not isinstance(record, bool)
    name = ".".join(key)
    require(is_right, f"{path} is not a complete record: it lacks {name}, or has another kind of value there; {ADVICE}")

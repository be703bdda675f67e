"""Entries of a record that its readers rely on, and their check. Estimators add settings and diagnostics."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from diffenc_jax.core.errors import require
from diffenc_jax.core.typed import mismatch

# Kind of the bound, and its names in digests of records, at finite and at infinite depth. Some records have these.
BOUND, BY_DEPTH = "bound", ("discrete", "continuous")
ADVICE = "give a record such as eval/*.json"
TOTAL = "total"  # in `bpd`, beside the terms


KnownAs = TypedDict("KnownAs", {"as": str, "by": str})  # see `fingerprints.known_as`


class DatasetEntry(TypedDict):
    """The evaluated images, see `Split.fingerprint`."""

    name: str
    version: str
    split: str
    num_examples: int
    dims: int
    sha256: str
    sha256_any_order: str
    known_as: KnownAs | None
    labels_sha256: NotRequired[str]
    values: NotRequired[str]
    true_bpd: NotRequired[float]


class EstimatorEntry(TypedDict):
    """The estimator; `replicates` is the number of independent replicates among the passes, None for a single pass."""

    kind: str
    passes: int
    replicates: int | None
    seed: int


class ErrorsEntry(TypedDict):
    """Standard errors in bits/dim over the noise, over the images, and over both, where they can be estimated."""

    noise: float | None
    images: float | None
    total: float | None


class TotalErrorsEntry(ErrorsEntry):
    """Standard errors of the total; `terms` has the standard errors of each term."""

    terms: dict[str, ErrorsEntry]


class RegretEntry(ErrorsEntry):
    """Mean bits/dim above the truth, with its standard errors."""

    bpd: float


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
    standard_error: TotalErrorsEntry
    regret: NotRequired[RegretEntry]
    params: int
    params_sha256: str
    seconds: float
    software: dict[str, str]
    parts: dict[str, str]
    device: str
    values_sha256: NotRequired[str]


def checked_record(path: Path, value: Any) -> Record:
    """The `value` of the JSON file at `path`; raises InputError unless it is a complete record."""
    wrong = mismatch(value, Record)
    wrong = _flaw(value) if wrong is None else wrong or "its content"
    require(not wrong, f"{path} is not a complete record: {wrong} is missing, or of another kind; {ADVICE}")
    if value["estimator"]["kind"] in BY_DEPTH:
        value["estimator"]["kind"] = BOUND
    return cast(Record, value)


def _flaw(record: Record) -> str:
    """Name of the first entry with the right type but a value that no evaluation has; empty without one."""
    terms, passes, replicates = record["bpd"], record["estimator"]["passes"], record["estimator"]["replicates"]
    checks = {
        "values_sha256": "values_sha256" in record,
        "bpd": TOTAL in terms and len(terms) > 1,
        "standard_error.terms": terms.keys() - {TOTAL} == record["standard_error"]["terms"].keys(),
        "estimator.passes": passes >= 1,
        "estimator.replicates": replicates is None or (replicates >= 2 and passes % replicates == 0),
        "dataset": min(record["dataset"]["num_examples"], record["dataset"]["dims"]) >= 1,
        "step or seed": min(record["step"], record["seed"]) >= 0,
    }
    return next((name for name, is_right in checks.items() if not is_right), "")

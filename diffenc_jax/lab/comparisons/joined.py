"""The evaluation of whole images as the sum of the evaluations of their parts."""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.evaluation.means import quietly
from diffenc_jax.evaluation.uncertainty import means_and_errors
from diffenc_jax.lab.comparisons.compare import different_images, different_methods
from diffenc_jax.lab.comparisons.describe import VARIANCE_KEYS, describe_images
from diffenc_jax.runs.record_types import DatasetEntry, Record
from diffenc_jax.runs.records import Evaluation, read_terms

# Keys of an estimator in which the parts may differ. A part that is modelled given earlier ones has labels.
FREE = VARIANCE_KEYS - {"passes", "replicates", "seed"} | {"labels"}
TEXTS = ("arm", "config_hash", "params_sha256", "augmentation", "device")


@quietly
def joined(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The evaluation of whole images from those of their parts, each in a run of its own.

      -log p(x) = Σ_k -log p(x_k | x_1 .. x_{k-1})

    The nats of an image, or their bounds, add up pass by pass: pass p of every part belongs to replicate p mod R of the
    sum, so its standard errors hold whether or not the parts share their noise. A single evaluation is returned as it
    is.

    Returns:
      An evaluation whose record has the sums of parameters and seconds, the largest step, the entries of the estimator
      in which all parts agree, and the training seed and software of the first. It has no diagnostics. It is not on
      disk: the path joins those of the parts with '+'.

    Raises:
      InputError: the images are not all parts of the same images, each once, or are evaluated in different ways.
    """
    if len(evaluations) == 1:
        return evaluations[0]
    records = [dict[str, Any](one.record) for one in evaluations]
    whole = whole_images([(str(one.path), one.record["dataset"]) for one in evaluations])
    for one, other in combinations(evaluations, 2):
        differ = ", ".join(different_methods(one.record["estimator"], other.record["estimator"], FREE))
        text = f"{one.path} and {other.path} are evaluated in different ways, {differ}"
        require(not differ, f"{text}; evaluate all parts in the same way")
    nats, scale = [read_terms(one.path, one.record) for one in evaluations], whole["dims"] * math.log(2)
    terms = dict.fromkeys(term for part in nats for term in part)
    bits = {term: np.sum([part[term] for part in nats if term in part], axis=0) / scale for term in terms}
    first, *others = (record["estimator"] for record in records)
    record = {
        **{key: value for key, value in records[0].items() if key in Record.__required_keys__},
        **{key: "+".join(dict.fromkeys(str(one.get(key, "none")) for one in records)) for key in TEXTS},
        **{key: sum(one[key] for one in records) for key in ("params", "seconds")},
        **means_and_errors(bits, first["replicates"]),
        "step": max(one["step"] for one in records),
        "dataset": whole,
        "estimator": {key: value for key, value in first.items() if all(one.get(key) == value for one in others)},
    }
    path = Path("+".join(str(one.path) for one in evaluations))
    return Evaluation(path, cast(Record, record), np.sum(list(bits.values()), axis=0))


def whole_images(parts: Sequence[tuple[str, DatasetEntry]]) -> DatasetEntry:
    """The images of which the named data sets are the parts; a single data set is returned as it is.

    Raises InputError unless they are all parts of the same images in one division, each once.
    """
    if len(parts) == 1:
        return parts[0][1]
    for name, dataset in parts:
        fits = dataset.get("part_of", {}).get("num_examples") == dataset["num_examples"]
        require(fits, f"{name} does not hold a part of each of other images; give all parts of one division")
    for (one, a), (other, b) in combinations(parts, 2):
        names = f"{one} and {other}"
        reason = different_images(a["part_of"], b["part_of"])
        require(not reason, f"{names} do not add up: as whole images, {reason}")
        ways = [dataset.get("division", "none") for dataset in (a, b)]
        require(len({*ways}) == 1, f"{names} are of two divisions, {' and '.join(ways)}; give the parts of one")
        require(a["sha256"] != b["sha256"], f"{names} hold the same part; give every part once")
    whole, dims = parts[0][1]["part_of"], sum(dataset["dims"] for _, dataset in parts)
    text = f"{' and '.join(name for name, _ in parts)} have {dims} of {whole['dims']} dimensions"
    require(dims == whole["dims"], f"{text} of {describe_images(whole)}; give every part once")
    return whole

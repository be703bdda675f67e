"""One-line descriptions of the estimator and the images of a record."""

import math
from typing import Any

# Keys of an estimator that do not change the expectation of its values. Most of them change the variance.
VARIANCE_KEYS = {"passes", "replicates", "seed", "time_sampling", "fit", "probes"}


def method(estimator: dict[str, Any]) -> dict[str, Any]:
    """The part of a record's 'estimator' that determines its limit for infinitely many passes."""
    return {key: value for key, value in estimator.items() if key not in VARIANCE_KEYS}


def describe_estimator(estimator: dict[str, Any]) -> str:
    """'discrete, depth 50, variance ratio optimal, 64 passes', without defaults and tables."""
    shown = {key: value for key, value in method(estimator).items() if not isinstance(value, dict | list | None)}
    for key in ("variance_ratio", "dequantisation_draws"):
        if shown.get(key) == 1:
            del shown[key]
    parts = [f"{key.replace('_', ' ')} {value}" for key, value in shown.items() if key != "kind"]
    passes = estimator["passes"]
    return ", ".join([estimator["kind"], *parts, f"{passes} pass{'es' if passes > 1 else ''}"])


def implausible(record: dict[str, Any]) -> str | None:
    """'standard_error.noise is -0.01': a number of a record that no evaluation gives; None if there is none."""
    numbers = {key: record[key] for key in ("params", "seconds")}
    errors = record["standard_error"]
    numbers |= {f"standard_error.{key}": errors[key] for key in ("noise", "images", "total")}
    for term, of_term in errors["terms"].items():
        numbers |= {f"standard_error.terms.{term}.{key}": error for key, error in of_term.items()}
    known = {key: number for key, number in numbers.items() if number is not None}
    # Of values that are not finite, which the readers of a record handle, the errors are not either.
    is_finite = math.isfinite(record["bpd"]["total"])
    wrong = (key for key, number in known.items() if number < 0 or (is_finite and math.isnan(number)))
    return next((f"{key} is {known[key]}" for key in wrong), None)


def describe_augmentation(record: dict[str, Any]) -> str:
    """'flip,rotate', 'flip, conditioned' or 'none': the augmentation of the training images of a record's run."""
    return record.get("augmentation", "none")


def describe_images(dataset: dict[str, Any]) -> str:
    """'Fashion-MNIST, test (10,000 images, sha256 0123456789ab)'."""
    known, details = dataset["known_as"], f"{dataset['num_examples']:,} images, sha256 {dataset['sha256'][:12]}"
    if known is None:
        return f"{dataset['name']} {dataset['version']}, {dataset['split']} ({details})"
    by = ", identified by their number" if known["by"] == "count" else ""
    return f"{known['as']} ({details}{by})"

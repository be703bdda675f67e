"""One-line descriptions of the estimator and the images of a record, and cautions about evaluations."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diffenc_jax.config.sections import TrainConfig
from diffenc_jax.core.numbers import estimator_name, examples
from diffenc_jax.runs.record_types import DatasetEntry, Record

# Keys of an estimator that do not change the expectation of its values. Most of them change the variance.
VARIANCE_KEYS = {"passes", "replicates", "seed", "time_sampling", "fit", "probes"}


def method(estimator: Mapping[str, Any]) -> dict[str, Any]:
    """A record's 'estimator' without the keys that do not change the expectation of its value."""
    return {key: value for key, value in estimator.items() if key not in VARIANCE_KEYS}


def estimator(entry: Mapping[str, Any]) -> str:
    """'bound, depth 50, variance ratio optimal, 64 passes', without defaults and tables."""
    shown = {key: value for key, value in method(entry).items() if not isinstance(value, dict | list | None)}
    for key in ("variance_ratio", "dequantisation_draws"):
        if shown.get(key) == 1:
            del shown[key]
    parts = [f"{key.replace('_', ' ')} {value}" for key, value in shown.items() if key != "kind"]
    passes = entry["passes"]
    return ", ".join([estimator_name(entry), *parts, f"{passes} pass{'es' if passes > 1 else ''}"])


def nats_per_example(dataset: DatasetEntry) -> float:
    """One bit/dim in nats per example."""
    return dataset["dims"] * math.log(2)


def images(dataset: DatasetEntry) -> str:
    """'Fashion-MNIST, test (10,000 images, sha256 0123456789ab)'."""
    number, known = f"{dataset['num_examples']:,} {examples(dataset)}", dataset["known_as"]
    details = f"{number}, sha256 {dataset['sha256'][:12]}"
    if known is None:
        return f"{dataset['name']} {dataset['version']}, {dataset['split']} ({details})"
    return f"{known['as']} ({details})"


def caution(text: str, names: Sequence[str], advice: str) -> list[str]:
    """A caution about the named runs; none without a name."""
    return [f"Caution: {text}: {', '.join(names)}; {advice}."] if names else []


def value_cautions(runs: Iterable[tuple[str, Record, int | None]]) -> list[str]:
    """Cautions that name evaluations with bits/dim below the truth by more than their error, or worse than uniform.

    Args:
      runs: name, record, and `data.pixel_levels` of each evaluation; None where it is not known, and for real numbers,
        whose uniform distribution has no known bits/dim.
    """
    below, worse = [], []
    for name, record, levels in runs:
        regret, bpd = record.get("regret"), record["bpd"]["total"]
        if regret and regret["total"] is not None and regret["bpd"] < -regret["total"]:
            below.append(f"{name} (by {-regret['bpd']:.4f})")
        if levels is not None and bpd > math.log2(levels):
            worse.append(f"{name} ({bpd:.4f}, uniform {math.log2(levels):.4f})")
    text = "bits/dim are below the truth by more than their error, which no model can reach in the mean"
    cautions = caution(text, below, "the estimator, the true log p or the images are wrong")
    text = "bits/dim are above those of the uniform distribution over the values of a pixel"
    return cautions + caution(text, worse, "train longer, or lower train.learning_rate")


def average_cautions(runs: Iterable[tuple[str, TrainConfig, int]]) -> list[str]:
    """A caution that names the runs whose parameters are averaged over more than a tenth of the training, if any.

    With the decay rate d, the average extends over about the last 1 / (1 - d) steps. With `train.ema_warmup` the decay
    rate is at most (1 + n) / (10 + n), so the mean age of the averaged parameters at step n is n / 10 or less, and the
    run is never named.

    Args:
      runs: name, training and evaluated step of each run.
    """
    lengths = {name: (round(1 / (1 - t.ema_decay)), step) for name, t, step in runs if not t.ema_warmup}
    long = [f"{name} ({n:,} steps, trained for {step:,})" for name, (n, step) in lengths.items() if 10 * n > step]
    text = "the evaluated parameters are an average over more than a tenth of the training"
    return caution(text, long, "lower train.ema_decay, or set train.ema_warmup=True")

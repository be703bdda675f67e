"""Bits/dim of models without a network, on the images that a run was evaluated on."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
from diffenc_jax.data.dataset import TRAIN, load_dataset
from diffenc_jax.data.sources import named_source
from diffenc_jax.runs.record_types import DatasetEntry


class TrivialModels(NamedTuple):
    """Bits/dim by name of the model, and why the histogram is not among them, or None."""

    bpd: dict[str, float]
    missing: str | None


def trivial_models(config: Config, evaluated: Iterable[DatasetEntry]) -> TrivialModels:
    """Each pixel's histogram over the training images, where the images are available, and uniform levels.

    Args:
      evaluated: the 'dataset' of each record of the run; the histogram is for its split, or else `eval.split`.
    """
    data, entries = config.data, list(evaluated)
    split, named = entries[0]["split"] if entries else config.eval.split, named_source(data.source)
    uniform = {f"uniform, log2 {data.pixel_levels}": uniform_bpd(data.pixel_levels)}
    try:
        require(named is None or not named.tfds, f"{data.source} is not loaded for a report")
        dataset = load_dataset(data, *dict.fromkeys((TRAIN, split)))
        same = all(entry["sha256"] == dataset.sha256(split) for entry in entries if entry["split"] == split)
        require(same, f"the images of {data.source} are not those that were evaluated")
        train, test = (np.asarray(dataset.splits[name]) for name in (TRAIN, split))
        histogram = histogram_bpd(train, test, dataset.pixel_levels)
    except InputError as error:
        return TrivialModels(uniform, str(error))
    return TrivialModels({"per-pixel histogram of training": histogram} | uniform, None)

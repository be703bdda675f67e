"""Bits/dim of models without a network, on the images that a run was evaluated on."""

import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
from diffenc_jax.data.dataset import TRAIN, load_dataset
from diffenc_jax.data.sources import named_source
from diffenc_jax.runs.record_types import DatasetEntry


def trivial_models(config: Config, evaluated: DatasetEntry) -> dict[str, float]:
    """Bits/dim by name of the model: each pixel's histogram over the training images, and uniform levels.

    Without the histogram where the images are not those of `evaluated`, cannot be loaded, or take long to load.
    """
    data, split, named = config.data, evaluated["split"], named_source(config.data.source)
    uniform = {f"uniform, log2 {data.pixel_levels}": uniform_bpd(data.pixel_levels)}
    if named is not None and named.tfds:
        return uniform
    try:
        dataset = load_dataset(data, *dict.fromkeys((TRAIN, split)))
        if evaluated["sha256"] != dataset.sha256(split):
            return uniform
    except InputError:
        return uniform
    train, test = (np.asarray(dataset.splits[name]) for name in (TRAIN, split))
    return {"per-pixel histogram of training": histogram_bpd(train, test, dataset.pixel_levels)} | uniform

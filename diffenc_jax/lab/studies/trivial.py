"""Bits/dim of models without a network, on the images that a run was evaluated on."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
from diffenc_jax.data.dataset import TRAIN, load_dataset
from diffenc_jax.data.sources import named_source


class TrivialModels(NamedTuple):
    """Bits/dim by name of the model, and why the histogram is not among them, or None."""

    bpd: dict[str, float]
    missing: str | None


def trivial_models(config: Config, evaluated: Iterable[dict[str, Any]]) -> TrivialModels:
    """Each pixel's histogram over the training images, where the images are available, and uniform levels.

    Args:
      evaluated: the 'dataset' of each record of the run; the histogram is for its split, or else `eval.split`.
    """
    levels = config.data.pixel_levels
    uniform = {f"uniform, log2 {levels}": uniform_bpd(levels)}
    try:
        return TrivialModels({"per-pixel histogram of training": _histogram(config, list(evaluated))} | uniform, None)
    except InputError as error:
        return TrivialModels(uniform, str(error))


def _histogram(config: Config, evaluated: list[dict[str, Any]]) -> float:
    """Bits/dim of the per-pixel histogram; raises InputError unless the evaluated images are available."""
    data = config.data
    split = evaluated[0]["split"] if evaluated else config.eval.split
    named = named_source(data.source)
    if named is not None and named.tfds:
        why = "is not loaded for a report; training prints the histogram's bits/dim at its end"
        raise InputError(f"{data.source} {why}")
    dataset = load_dataset(data, *dict.fromkeys((TRAIN, split)))
    require(
        all(other["sha256"] == dataset.sha256(split) for other in evaluated if other["split"] == split),
        f"the images of {data.source} are not those that were evaluated",
    )
    return histogram_bpd(dataset.splits[TRAIN], dataset.splits[split], dataset.pixel_levels)

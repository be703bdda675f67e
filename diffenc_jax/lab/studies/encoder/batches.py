"""Batches of images on the devices, each image once."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from diffenc_jax.data.images import Batch
from diffenc_jax.parallel.sharding import fetch, round_up, to_devices
from diffenc_jax.runs.trained import Trained


class Part(NamedTuple):
    """A batch of B images, of which those that only fill it up do not count.

    Attributes:
      rows: positions of the images that count.
      batch: the images, those that count first.
      weight: float32 [B], 1 for images that count and 0 for others.
    """

    rows: np.ndarray
    batch: Batch
    weight: jax.Array


def batches(run: Trained, split: str, rows: np.ndarray | None = None) -> Iterator[Part]:
    """The images at `rows` of a split, or all, in batches of `eval.batch_size`, divided over the devices of `run`."""
    images = run.dataset.examples(split)
    rows = np.arange(len(images.pixels)) if rows is None else rows
    size = round_up(run.mesh, min(run.config.eval.batch_size, len(rows)))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        weight = (np.arange(size) < len(part)).astype(np.float32)
        yield Part(part, *to_devices(run.mesh, (fetch(images, np.resize(part, size)), weight)))

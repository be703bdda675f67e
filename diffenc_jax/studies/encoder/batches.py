"""Batches of images on the devices, each image once."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from diffenc_jax.data.images import LocalPart
from diffenc_jax.parallel.mesh import fetch, round_up, to_devices
from diffenc_jax.runs.trained import Trained


class Batch(NamedTuple):
    """A batch of B images, of which those that only fill it up do not count.

    Attributes:
      rows: positions of the images that count.
      pixels: uint8 [B, H, W, C], the images that count first.
      weight: float32 [B], 1 for images that count and 0 for others.
    """

    rows: np.ndarray
    pixels: jax.Array
    weight: jax.Array


def batches(run: Trained, images: np.ndarray | LocalPart, rows: np.ndarray | None = None) -> Iterator[Batch]:
    """The images at `rows`, or all images, in batches of `eval.batch_size`, divided over the devices of `run`."""
    rows = np.arange(len(images)) if rows is None else rows
    size = round_up(run.mesh, min(run.config.eval.batch_size, len(rows)))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        weight = (np.arange(size) < len(part)).astype(np.float32)
        pixels = fetch(images, np.resize(part, size))
        yield Batch(part, to_devices(run.mesh, pixels), to_devices(run.mesh, weight))

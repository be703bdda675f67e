"""Maps of nats per pixel and channel in the .npz file of a record, and the images that a page shows with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.runs.records import read_values

# Start of the names of maps, 'map.diffusion'.
MAP = "map."
ROWS, PIXELS = "extremes", "extreme_pixels"
# Number of images with the fewest bits, and of images with the most, that are kept with the maps.
EXTREMES = 6


class Maps(NamedTuple):
    """Maps of a record, and its images with the fewest and the most bits.

    Attributes:
      nats: by term, float32 [N, H, W, C], the mean over the passes.
      rows: [2 K] indices of the images with the fewest bits, and then of those with the most, both in increasing order
        of their bits.
      pixels: uint8 [2 K, H, W, C], these images.
    """

    nats: dict[str, np.ndarray]
    rows: np.ndarray
    pixels: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the file, by name."""
        return {**{MAP + term: nats for term, nats in self.nats.items()}, ROWS: self.rows, PIXELS: self.pixels}


def extremes(nats: np.ndarray) -> np.ndarray:
    """The `rows` of `Maps` from the nats [N] of all images; both halves hold the image if there is only one."""
    order, count = np.argsort(nats, kind="stable"), max(1, min(EXTREMES, len(nats) // 2))
    return np.concatenate([order[:count], order[-count:]])


def read_maps(path: Path) -> Maps:
    """The maps of the record at `path`; raises InputError if there are none, or they do not belong together."""
    arrays, values = read_values(path), path.with_suffix(".npz")
    maps = {name.removeprefix(MAP): array for name, array in arrays.items() if name.startswith(MAP)}
    is_whole = bool(maps) and _are_maps(maps, arrays.get(ROWS), arrays.get(PIXELS))
    require(is_whole, f"{values} holds no maps per pixel; evaluate again with --config.eval.per_pixel=True")
    return Maps(maps, arrays[ROWS], arrays[PIXELS])


def _are_maps(maps: Mapping[str, np.ndarray], rows: np.ndarray | None, pixels: np.ndarray | None) -> bool:
    """Whether the arrays have the types and shapes of `Maps`."""
    if rows is None or pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 4 or not pixels.size:
        return False
    shape = next(iter(maps.values())).shape
    alike = all(nats.shape == shape and nats.dtype == np.float32 for nats in maps.values())
    paired = rows.shape == pixels.shape[:1] and len(rows) % 2 == 0 and rows.dtype.kind == "i"
    return alike and shape[1:] == pixels.shape[1:] and paired and rows.min() >= 0 and rows.max() < shape[0]

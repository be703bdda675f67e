"""Maps of nats per pixel and channel in the .npz file of a record, and the images that a page shows with them."""

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
    """The maps of the record at `path`; raises InputError if there are none."""
    arrays, values = read_values(path), path.with_suffix(".npz")
    maps = {name.removeprefix(MAP): array for name, array in arrays.items() if name.startswith(MAP)}
    require(
        bool(maps) and {ROWS, PIXELS} <= arrays.keys(),
        f"{values} holds no maps per pixel; evaluate again with --config.eval.per_pixel=True",
    )
    return Maps(maps, arrays[ROWS], arrays[PIXELS])

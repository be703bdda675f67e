"""Data sets of exact draws, whose true log p is known: ising:SIDE and mesh:SIDE.

They have 100,000 training and 10,000 test images, which are drawn once and kept in `data.dir`, or in ~/known_truth.
Their first images are the splits `seen`, `part` and `few`. At each side these have as many pixels as 5,000 training
images, 10,000 test images and 200 test images of 8x8 pixels; `few` is for slow estimators.
"""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import refusing, require
from diffenc_jax.data.images import Source
from diffenc_jax.data.sources import NamedSource
from known_truth import ising, mesh

SIZES = {"train": 100_000, "test": 10_000}
PIXELS = {"seen": ("train", 5000 * 64), "part": ("test", 10_000 * 64), "few": ("test", 200 * 64)}


def opened(world: ModuleType, known: Iterable[int], sides: str, data: DataConfig) -> Source:
    """The source of a module with `draw` and `log_prob`.

    Raises InputError unless the side is one of `known`; `sides` says which these are.
    """
    name, _, given = data.source.partition(":")
    require(given in map(str, known), f"data.source={name}:SIDE needs {sides}, not {given[:20]!r}")
    folder, side = Path(data.dir or "~/known_truth").expanduser(), int(given)
    splits = {split: partial(kept, world, folder, side, split) for split in SIZES}
    splits |= {split: partial(kept, world, folder, side, of, n // side**2) for split, (of, n) in PIXELS.items()}
    return Source(f"{name}-{given}", "1", splits, log_prob=world.log_prob)


def kept(world: ModuleType, folder: Path, side: int, split: str, count: int | None = None) -> np.ndarray:
    """The first `count` images of a split, by default all, from their file in `folder`, which is made if missing."""
    path = folder / f"{world.__name__.rpartition('.')[2]}-{side}-{split}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([side, list(SIZES).index(split)])
        part = path.with_suffix(f".{os.getpid()}.npy")
        np.save(part, world.draw(rng, side, SIZES[split]))
        part.replace(path)  # complete, if another process reads it
    with refusing(str(path), "delete it, and its images are drawn again"):
        return np.load(path)[:count]


TORI = [*range(3, ising.LONGEST_ROW), *range(ising.LONGEST_ROW, 33, 2)]
TORUS = "a side from 3 to 10, or an even one up to 32"
ISING = NamedSource(None, partial(opened, ising, TORI, TORUS), argument="SIDE")
MESH = NamedSource(None, partial(opened, mesh, range(2, 65), "a side from 2 to 64"), argument="SIDE")

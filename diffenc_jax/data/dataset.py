"""`Dataset`: uint8 images by split, checked and fingerprinted; `load` finds them by name or path."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffenc_jax.config import require, unpack
from diffenc_jax.data import checks, files, fingerprints, sources
from diffenc_jax.data.images import Held, read


@dataclass(frozen=True)
class DataConfig:
    """`config.data`.

    Attributes:
      source: a name of `sources.SOURCES`, or a path.
      dir: where data sets are kept; None for their default.
      levels: of a pixel.
      stripes: into how many parts the training images are cut, each shuffled for itself; see `pipeline`. Several
        hosts can share the images if it is a multiple of their number.
    """

    source: str
    dir: str | None
    levels: int
    stripes: int

    def __post_init__(self):
        require(self.stripes >= 1, f"data.stripes must be at least 1, not {self.stripes}")
        require(2 <= self.levels <= 256, f"data.levels must lie in 2 .. 256, not {self.levels}")


@dataclass(frozen=True)
class Dataset:
    """Images uint8 [N, H, W, C] by split, all of one shape, their values below `levels`.

    A split of which this host holds a part is a `Held`, which takes the same numbers of images as an array.
    """

    name: str
    version: str
    levels: int
    splits: Mapping[str, np.ndarray | Held]
    _digests: dict[tuple[str, str], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return next(iter(self.splits.values())).shape[1:]

    def sha256(self, split: str) -> str:
        """Of the decoded images' bytes, in their order; computed once."""
        return self._digest("in order", fingerprints.sha256, split)

    def fingerprint(self, split: str) -> dict[str, Any]:
        """What a record says of the images that it is about: JSON's values.

        The digests are those of `fingerprints`, and so is `known_as`, the name of a well-known set
        or None; `dims` is the number of values in one image.
        """
        count, any_order = len(self.splits[split]), self._digest("any order", fingerprints.sha256_any_order, split)
        return {
            "name": self.name,
            "version": self.version,
            "split": split,
            "num_examples": count,
            "dims": math.prod(self.shape),
            "sha256": self.sha256(split),
            "sha256_any_order": any_order,
            "known_as": fingerprints.known_as(any_order, count, self.shape, split),
        }

    def _digest(self, kind: str, of: Callable[[np.ndarray], str], split: str) -> str:
        if (kind, split) not in self._digests:
            self._digests[kind, split] = of(self.splits[split])
        return self._digests[kind, split]


def load(config: ConfigDict, *names: str, part: Callable[[int], np.ndarray] | None = None) -> Dataset:
    """The splits `names` of the data set that `config.data` describes.

    Args:
      part: number of training images -> the numbers, increasing, of those that this host needs; None: all.

    Raises:
      InputError: it is unknown, cannot be had, or is not what the configuration says.
    """
    data = unpack(DataConfig, config.data, "data")
    source = _source(data)
    for name in names:
        require(name in source.read, f"{source.name} has no split {name!r}; it has {', '.join(source.read)}")
    splits = {name: _read(source, name, part if name == "train" else None) for name in names}
    for name, images in splits.items():
        _check(images, data.levels, f"{source.name} ({name})")
    shapes = {name: images.shape[1:] for name, images in splits.items()}
    require(len(set(shapes.values())) == 1, f"{source.name}: the splits' images differ in shape: {shapes}")
    return Dataset(source.name, source.version, data.levels, splits)


def labels(config: ConfigDict, split: str) -> np.ndarray | None:
    """[N], the class of every image of `split`, a number from 0, in the order of `load`'s images.

    None where `config.data` describes a data set without labels, or whose labels are not read.
    """
    known = _source(unpack(DataConfig, config.data, "data")).labels
    return known[split]() if split in known else None


def image_shape(config: ConfigDict) -> tuple[int, int, int]:
    """(height, width, channels) of the images that `config.data` describes; a named data set need not be there.

    Raises:
      InputError: they are unknown, or at a path where none can be read.
    """
    data = unpack(DataConfig, config.data, "data")
    if data.source in sources.SOURCES:
        return sources.SOURCES[data.source].shape
    return files.from_path(_path(data)).read["train"]().shape[1:]


def _source(data: DataConfig) -> files.Source:
    if data.source in sources.SOURCES:
        return sources.SOURCES[data.source].open(Path(data.dir).expanduser() if data.dir else None)
    return files.from_path(_path(data))


def _path(data: DataConfig) -> Path:
    known = ", ".join(sources.SOURCES)
    try:
        path = Path(data.source).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError):  # no such user's home; too long a name; a folder that is closed to us
        exists = False
    named = f"data.source={data.source[:99]!r}"
    require(exists, f"{named} is neither a known data set ({known}) nor a path that can be read")
    return path


def _read(source: files.Source, split: str, part: Callable[[int], np.ndarray] | None) -> np.ndarray | Held:
    images = source.read[split]()
    count = images.shape[0]
    require(count > 0, f"{source.name}: there are no images for {split}")
    rows = np.arange(count) if part is None else part(count)
    checks.fits(f"{source.name} ({split})", (len(rows), *images.shape[1:]))
    if len(rows) == count:
        return images[:count]
    return Held(read(images, rows), rows, images.shape)


def _check(images: np.ndarray | Held, levels: int, what: str) -> None:
    """Raises InputError unless `images` are uint8 [N, H, W, C] with values below `levels`."""
    images = images.held if isinstance(images, Held) else images
    require(images.dtype == np.uint8, f"{what}: images must be uint8, these are {images.dtype}")
    require(images.ndim == 4, f"{what}: images must be [N, H, W, C], these are {list(images.shape)}")
    require(images.size > 0, f"{what}: there are no images")
    largest = int(images.max())
    require(
        largest < levels,
        f"{what}: a pixel has the value {largest}, and data.levels={levels} admits 0 .. {levels - 1}",
    )

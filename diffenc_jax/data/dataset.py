"""`Dataset`: uint8 images by split, checked and fingerprinted; `load_dataset` finds them by name or path."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.data import checks, fingerprints, prepared, sources, user_files
from diffenc_jax.data.images import Batch, Labels, LocalPart, read_rows

TRAIN = "train"
HELD_OUT = "as one in ten, and at least one, is held out where there is no test split"


@dataclass(frozen=True)
class Dataset:
    """Images uint8 [N, H, W, C] by split, all of one shape, with values below `pixel_levels`.

    A split of which this host holds a part is a `LocalPart`, which is indexed like an array of the full split.

    Attributes:
      labels: classes from 0 by split, int32 [N], held as the images are; empty where no model reads them.
      num_classes: number of classes; 0 without labels.
    """

    name: str
    version: str
    pixel_levels: int
    splits: Mapping[str, np.ndarray | LocalPart]
    labels: Mapping[str, np.ndarray | LocalPart] = field(default_factory=dict)
    num_classes: int = 0
    _digests: dict[tuple[str, str], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        _, height, width, channels = next(iter(self.splits.values())).shape
        return height, width, channels

    def examples(self, split: str) -> Batch:
        """All images of a split, with their labels if there are labels."""
        return Batch(self.splits[split], self.labels.get(split))

    def sha256(self, split: str) -> str:
        """SHA-256 of the decoded images' bytes in their order; computed once per split."""
        return self._digest("in order", fingerprints.sha256, split)

    def fingerprint(self, split: str) -> dict[str, Any]:
        """A record's 'dataset': JSON values that identify the images of a split.

        `sha256`, `sha256_any_order` and `known_as` (name of a well-known set, or None) are those of `fingerprints`;
        `dims` is the number of values per image. `labels_sha256` is there if there are labels.
        """
        classes: Any = self.labels.get(split)
        labels = {} if classes is None else {"labels_sha256": fingerprints.sha256(classes)}
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
            **labels,
        }

    def _digest(self, kind: str, compute: Callable[[Any], str], split: str) -> str:
        if (kind, split) not in self._digests:
            self._digests[kind, split] = compute(self.splits[split])
        return self._digests[kind, split]


def load_dataset(
    data: DataConfig, *splits: str, labels: bool = False, part: Callable[[int], np.ndarray] | None = None
) -> Dataset:
    """Load the given splits of the data set that `data` describes; raises InputError unless it is as described.

    Args:
      labels: whether to read the labels; raises InputError if there are none.
      part: function from the number of training images to the increasing indices of those that this host needs.
        None: all images.
    """
    source = _source(data)
    for split in splits:
        require(split in source.splits, f"{source.name} has no split {split!r}; it has {', '.join(source.splits)}")
    parts = {split: part if split == TRAIN else None for split in splits}
    images = {split: _read(source, split, parts[split], data.pixel_levels) for split in splits}
    shapes = {split: images[split].shape[1:] for split in splits}
    require(len(set(shapes.values())) == 1, f"{source.name}: the splits' images differ in shape: {shapes}")
    if not labels:
        return Dataset(source.name, source.version, data.pixel_levels, images)
    stored = _labels(source)
    classes = {split: _read_classes(stored, f"{source.name} ({split})", split, images[split]) for split in splits}
    return Dataset(source.name, source.version, data.pixel_levels, images, classes, stored.num_classes)


def load_labels(data: DataConfig, split: str) -> np.ndarray | None:
    """Classes [N], integers from 0, of the images of a split in the order of `load_dataset`; None without labels."""
    source = _source(data)
    labels = source.labels()
    if labels is None:
        return None
    count = source.splits[split]().shape[0]
    return labels.classes(f"{source.name} ({split})", split, None, count)


def num_classes(data: DataConfig) -> int:
    """Number of classes of the images that `data` describes. A named data set need not be on this machine.

    Raises InputError if there are no labels, or none can be read at the path.
    """
    named = _named(data)
    if named is None:
        return _labels(_source(data)).num_classes
    count = prepared.num_classes(named.tfds, data) if named.classes is None else named.classes
    require(count > 0, _without_labels(data.source))
    return count


def image_shape(data: DataConfig) -> tuple[int, int, int]:
    """(height, width, channels) of the images that `data` describes. A named data set need not be on this machine.

    Raises InputError if the name is unknown, or if no images can be read at the path.
    """
    named = _named(data)
    if named is None:
        _, height, width, channels = user_files.open_path(_path(data), data.resize).splits[TRAIN]().shape
        return height, width, channels
    if named.shape is None or data.resize is not None:
        return prepared.image_shape(named.tfds, data)
    return named.shape


def _source(data: DataConfig) -> user_files.Source:
    named = _named(data)
    return user_files.open_path(_path(data), data.resize) if named is None else named.open(data)


def _labels(source: user_files.Source) -> Labels:
    """The labels of `source`; raises InputError without any."""
    labels = source.labels()
    if labels is None:
        raise InputError(_without_labels(source.name))
    return labels


def _without_labels(name: str) -> str:
    return (
        f"{name} has no labels, which model.labels=True needs; give a data set that has, such as a folder of pictures "
        "with a subfolder per class, or an .npz with y_train and y_test"
    )


def _read_classes(labels: Labels, what: str, split: str, images: np.ndarray | LocalPart) -> np.ndarray | LocalPart:
    """Classes of the images of a split, of those that `images` holds."""
    if isinstance(images, LocalPart):
        return LocalPart(labels.classes(what, split, images.rows, len(images)), images.rows, (len(images),))
    return labels.classes(what, split, None, len(images))


def _named(data: DataConfig) -> sources.NamedSource | None:
    named = sources.named_source(data.source)
    require(
        named is None or data.resize is None or bool(named.tfds),
        f"data.resize={data.resize} is for folders of pictures and for tensorflow-datasets, and {data.source} is "
        "neither; leave it out",
    )
    return named


def _path(data: DataConfig) -> Path:
    known = ", ".join(parts.names("data"))
    named = f"data.source={data.source[:99]!r}"
    require("://" not in data.source, f"{named} is not a local path; copy it first, as by `gcloud storage cp -r`")
    try:
        path = Path(data.source).expanduser()
        exists = bool(data.source) and path.exists()
    except (OSError, RuntimeError):  # unknown user's home; a name that is too long; a folder without permission
        exists = False
    require(exists, f"{named} is neither a known data set ({known}, or tfds:NAME) nor a path that can be read")
    return path


def _read(
    source: user_files.Source, split: str, part: Callable[[int], np.ndarray] | None, pixel_levels: int
) -> np.ndarray | LocalPart:
    """Read a split, or the images that `part` selects. Check that they are uint8 [N, H, W, C] below `pixel_levels`."""
    images, what = source.splits[split](), f"{source.name} ({split})"
    count = images.shape[0]
    require(math.prod(images.shape) > 0, f"{what}: this split has no images; give at least two, {HELD_OUT}")
    rows = np.arange(count) if part is None else part(count)
    checks.fits_memory(what, (len(rows), *images.shape[1:]))
    held = images[:count] if len(rows) == count else read_rows(images, rows)
    require(held.dtype == np.uint8, f"{what}: images must be uint8, these are {held.dtype}")
    require(held.ndim == 4, f"{what}: images must be [N, H, W, C], these are {list(held.shape)}")
    largest, allowed = int(held.max()), pixel_levels - 1
    require(
        largest <= allowed,
        f"{what}: a pixel has the value {largest}, but data.pixel_levels={pixel_levels} allows 0 .. {allowed}; take "
        "data.pixel_levels=256 for images of 8 bits",
    )
    return held if len(rows) == count else LocalPart(held, rows, images.shape)

"""Images of a split and their labels, read on demand, and the part of a split that one host holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.core.text import printable
from diffenc_jax.diffusion.standard import Standard

# One image in this many is held out for testing.
HOLD_OUT_EVERY = 10


class Batch(NamedTuple):
    """Data with their labels and augmentation: a batch, or a whole split.

    Attributes:
      data: [B, ...], as the decoder takes them: images, uint8 [B, H, W, C].
      labels: classes from 0, int32 [B]; images, uint8 [B, h, w, c]; or vectors, float32 [B, K]. None if no model reads
        labels.
      augmentation: flags [B, F] of `Augmentation.flags`; None without augmentation, or if no model reads them.
    """

    data: Any
    labels: Any = None
    augmentation: Any = None


class OnDemand:
    """Images [N, H, W, C] or labels [N], read on demand: `read(start, stop)` returns the rows start .. stop - 1.

    Attributes:
      rows: index in its file of each row; None if they are all rows of a file in their order.
    """

    def __init__(self, shape: tuple[int, ...], read: Callable[[int, int], np.ndarray], rows: np.ndarray | None = None):
        self.shape, self._read, self.rows = shape, read, rows

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        return self._read(start, stop)


Images = np.ndarray | OnDemand
# Functions that open the images or the labels of a split, by the split's name.
Splits = Mapping[str, Callable[[], Images]]


@dataclass(frozen=True)
class LabelSpec:
    """The kind of labels: classes, images, or vectors of real numbers.

    Attributes:
      classes: number of classes; 0 without labels, and for labels that are arrays.
      shape: (height, width, channels) of labels that are images, (K,) of vectors; None for classes.
      standard: standardisation of vectors; None for classes and images.
    """

    classes: int = 0
    shape: tuple[int, ...] | None = None
    standard: Standard | None = None


NO_LABELS = LabelSpec()


def subset(images: Images, rows: np.ndarray) -> Images:
    """The images with the increasing indices `rows` [N], renumbered from 0 and read on demand."""
    return OnDemand((len(rows), *images.shape[1:]), lambda start, stop: read_rows(images, rows[start:stop]), rows)


class LocalPart:
    """The part of a split's images, or labels, that this host holds, with the indices of the full split.

    Attributes:
      local: the images that this host holds.
      rows: their increasing indices in the full split.
      shape: [N, H, W, C] of the full split.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray, shape: tuple[int, ...]):
        """Hold `images`, whose increasing indices in the full split of `shape` are `rows`."""
        self.local, self.rows, self.shape = images, rows, shape

    def __len__(self) -> int:
        return self.shape[0]

    def has(self, rows: np.ndarray) -> np.ndarray:
        """Whether this host holds each of the indices `rows`."""
        return self.rows[np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)] == rows

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Images with the indices `rows`; raises IndexError if another host holds one of them."""
        if not self.has(rows).all():
            raise IndexError("another host holds some of these images")
        return self.local[np.searchsorted(self.rows, rows)]


def converted(data: np.ndarray | LocalPart, convert: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | LocalPart:
    """The result of `convert` for the rows that this host holds, with the indices of the full split."""
    return LocalPart(convert(data.local), data.rows, data.shape) if isinstance(data, LocalPart) else convert(data)


def read_rows(images: Images, rows: np.ndarray) -> np.ndarray:
    """Images with increasing indices `rows`, with one read per run of consecutive indices."""
    ends = (np.flatnonzero(np.diff(rows) > 1) + 1).tolist()
    held: Any = None
    for start, stop in zip([0, *ends], [*ends, len(rows)], strict=True):
        part = images[int(rows[start]) : int(rows[stop - 1]) + 1]
        if stop - start == len(rows):
            return part  # not copied; of several runs only one at a time is held beside the result
        if held is None:
            held = np.empty((len(rows), *part.shape[1:]), part.dtype)
        held[start:stop] = part
    return held


def rows_in_file(images: Images, rows: np.ndarray) -> np.ndarray:
    """Indices in the file of the rows of `images` with the indices `rows` [N]."""
    return images.rows[rows] if isinstance(images, OnDemand) and images.rows is not None else rows


def hold_out(images: Images) -> Splits:
    """Splits 'train' and 'test' of one set; 'test' is a fixed random tenth, at least one image."""
    count = images.shape[0]
    num_test = max(1, count // HOLD_OUT_EVERY)
    order = np.random.RandomState(0).permutation(count)
    test, train = np.sort(order[:num_test]), np.sort(order[num_test:])
    return {"train": lambda: subset(images, train), "test": lambda: subset(images, test)}


class Labels(NamedTuple):
    """The labels of a data set: whole numbers, or names.

    Attributes:
      splits: functions that open the labels [N] of a split, in the order of its images, by the split's name.
      values: function that returns the sorted distinct labels [K]; class c is the label with index c.
    """

    splits: Splits
    values: Callable[[], np.ndarray]

    @property
    def spec(self) -> LabelSpec:
        """The number K of classes."""
        return LabelSpec(len(self.values()))

    def read(self, what: str, split: str, images: np.ndarray | LocalPart) -> np.ndarray | LocalPart:
        """Classes, int32, of the images of a split that `images` holds.

        Raises InputError, which begins with `what`, if the numbers of labels and images differ, or a label is unknown.
        """
        values, held = self.values(), _beside(images, self.splits[split](), (), what)
        classes = np.minimum(np.searchsorted(values, held), len(values) - 1).astype(np.int32)
        unknown = held[values[classes] != held]
        name = printable(str(unknown[:1].tolist())[1:-1])
        require(len(unknown) == 0, f"{what}: the label {name} is not among the {len(values)} of the training images")
        return LocalPart(classes, images.rows, (len(images),)) if isinstance(images, LocalPart) else classes


class LabelArrays(NamedTuple):
    """Labels that are arrays: images uint8, with as many pixel levels as the data set's images, or vectors of floats.

    Attributes:
      splits: functions that open the labels [N, ...] of a split, in the order of its images, by the split's name.
      spec: their kind.
    """

    splits: Splits
    spec: LabelSpec

    def read(self, what: str, split: str, images: np.ndarray | LocalPart) -> np.ndarray | LocalPart:
        """Labels of the images of a split that `images` holds.

        Raises InputError, which begins with `what`, if the numbers of labels and images differ, or for another shape.
        """
        shape = self.spec.shape or ()
        labels = _beside(images, self.splits[split](), shape, what)
        return LocalPart(labels, images.rows, (len(images), *shape)) if isinstance(images, LocalPart) else labels


def _beside(images: np.ndarray | LocalPart, labels: Images, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The labels [N, *shape] of the images that `images` holds; raises InputError, which begins with `what`."""
    count = len(images)
    given, wanted = (f" of {list(rest)}" if rest else "" for rest in (labels.shape[1:], shape))
    several = f"{what}: there are {labels.shape[0]} labels{given} for {count} images; give one{wanted} per image"
    require(labels.shape == (count, *shape), several)
    return read_rows(labels, images.rows if isinstance(images, LocalPart) else np.arange(count))


def labels_of(splits: Splits, all_labels: np.ndarray | None = None) -> Labels | LabelArrays | None:
    """The labels of the splits 'train' and 'test': classes [N], or vectors of real numbers [N, K].

    None if a split has no labels.

    Args:
      all_labels: labels whose distinct values are the classes; None: those of 'train'.
    """
    if len(splits) < 2:
        return None
    train = splits["train"]()[:]
    if train.dtype.kind != "f":
        return Labels(splits, lambda: np.unique(train if all_labels is None else all_labels))
    return LabelArrays(splits, LabelSpec(shape=train.shape[1:], standard=Standard.of(train)))


def labels_of_one(labels: np.ndarray | None) -> Labels | LabelArrays | None:
    """The labels of one set of data that `hold_out` divides; None without labels."""
    return None if labels is None else labels_of(hold_out(labels), labels)


# Function that finds the labels of a data set; it returns None if there are none.
OpenLabels = Callable[[], Labels | LabelArrays | None]


class Source(NamedTuple):
    """A data set whose splits are opened on demand.

    Attributes:
      name, version: of the data set, which a fingerprint of its splits names.
      splits: functions that open the images of a split, by its name.
      labels: function that finds the labels.
      log_prob: function from data [N, ...] to their true log p, nats [N], for data of a known distribution.
    """

    name: str
    version: str
    splits: Splits
    labels: OpenLabels = lambda: None
    log_prob: Callable[[np.ndarray], np.ndarray] | None = None

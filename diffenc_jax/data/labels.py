"""Labels of images, as they are stored, and the classes that they stand for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.core.text import printable
from diffenc_jax.data import checks
from diffenc_jax.data.images import Splits, hold_out, read_rows


class Labels(NamedTuple):
    """The labels of a data set: whole numbers, or names.

    Attributes:
      splits: functions that open the labels [N] of a split, in the order of its images, by the split's name.
      values: function that returns the sorted labels [K] that there are. Class c is the label of index c.
    """

    splits: Splits
    values: Callable[[], np.ndarray]

    @staticmethod
    def of_train(splits: Splits) -> "Labels":
        """Labels of the splits 'train' and 'test', of which all are among those of 'train'."""
        return Labels(splits, lambda: np.unique(splits["train"]()[:]))

    @staticmethod
    def of_one(labels: np.ndarray) -> "Labels":
        """Labels of the splits of one set of images, as `hold_out` divides it."""
        return Labels(hold_out(labels), lambda: np.unique(labels))

    @staticmethod
    def of_classes(splits: Splits, count: int) -> "Labels":
        """Labels that are classes 0 .. count - 1 already."""
        return Labels(splits, lambda: np.arange(count))

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.values())

    def classes(self, what: str, split: str, rows: np.ndarray | None, count: int) -> np.ndarray:
        """Classes int32 of the images at the increasing indices `rows` of a split; None: of all `count` images.

        Raises InputError, which begins with `what`, if there are not as many labels as images, or a label is unknown.
        """
        labels, values = self.splits[split](), self.values()
        several = f"{what}: there are {labels.shape[0]} labels for {count} images; give one per image"
        require(labels.shape == (count,), several)
        held = read_rows(labels, np.arange(count) if rows is None else rows)
        classes = np.minimum(np.searchsorted(values, held), len(values) - 1)
        unknown = held[values[classes] != held]
        name = printable(str(unknown[:1].tolist())[1:-1])
        require(len(unknown) == 0, f"{what}: the label {name} is not among the {len(values)} of the training images")
        return classes.astype(np.int32)


def as_labels(path: Path, name: str, stored: np.ndarray | Sequence) -> np.ndarray:
    """Labels [N] of an array or a list `name` in a file; raises InputError unless it is [N] or [N, 1] whole numbers."""
    labels = np.asarray(stored)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0:
        it_is = f"{str(labels.dtype)[:20]} {str(list(labels.shape))[:60]}"
        raise checks.refused(path, f"must hold labels [N], whole numbers; {name} is {it_is}")
    return labels

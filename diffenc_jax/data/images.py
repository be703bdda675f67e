"""A split's images, of which a host may read and hold a part only."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

HELD_OUT = 10


class Images(Protocol):
    """uint8 [N, H, W, C] that are read when they are asked for; an array in memory is one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Those of consecutive numbers."""
        ...


class Chosen:
    """Of `images`, those of the numbers `rows` [N], increasing; read when they are asked for."""

    def __init__(self, images: Images, rows: np.ndarray):
        self._images, self._rows = images, rows
        self.shape = (len(rows), *images.shape[1:])

    def __getitem__(self, rows: slice) -> np.ndarray:
        return read(self._images, self._rows[rows])


class Listed:
    """Images that are decoded one by one: `decode(i)` gives number i, uint8 [H, W, C], and all are of one shape."""

    def __init__(self, count: int, decode: Callable[[int], np.ndarray]):
        self._count, self._decode = count, decode
        self.shape = (count, *decode(0).shape)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.stack([self._decode(i) for i in range(*rows.indices(self._count))])


class Joined:
    """Images one after the other, of one shape; no part is read but those that are asked for."""

    def __init__(self, parts: Sequence[Images]):
        self._parts = parts
        self._ends = np.cumsum([part.shape[0] for part in parts])
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        found = np.empty((stop - start, *self.shape[1:]), np.uint8)
        for part, end in zip(self._parts, self._ends, strict=True):
            first = end - part.shape[0]
            a, b = max(start, first), min(stop, end)
            if a < b:
                found[a - start : b - start] = part[int(a - first) : int(b - first)]
        return found


class Held:
    """The part of a split that a host holds; indexed by numbers in the whole, as an array of the whole would be.

    Attributes:
      held: the images that are here.
      shape: of the whole, [N, H, W, C].
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray, shape: tuple[int, ...]):
        """`images`: those of the numbers `rows`, increasing."""
        self.held, self._rows, self.shape = images, rows, shape

    def __len__(self) -> int:
        return self.shape[0]

    def has(self, rows: np.ndarray) -> np.ndarray:
        """Which of the numbers `rows` are held."""
        return self._rows[np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)] == rows

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Raises IndexError for numbers that are not held."""
        if not self.has(rows).all():
            raise IndexError("images were asked for that another host holds")
        return self.held[np.searchsorted(self._rows, rows)]


def read(images: Images, rows: np.ndarray) -> np.ndarray:
    """The images of increasing numbers `rows`, a call for each run of consecutive ones."""
    if isinstance(images, np.ndarray):
        return images[rows]
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return np.concatenate([images[int(run[0]) : int(run[-1]) + 1] for run in runs])


def hold_out(images: Images) -> dict[str, Callable[[], Images]]:
    """Splits one set: a tenth of it, at least one image, chosen once and for all, is 'test'."""
    count = images.shape[0]
    num_test = max(1, count // HELD_OUT)
    order = np.random.RandomState(0).permutation(count)
    test, train = np.sort(order[:num_test]), np.sort(order[num_test:])
    return {"train": lambda: Chosen(images, train), "test": lambda: Chosen(images, test)}


def with_channels(images: np.ndarray) -> np.ndarray:
    """[N, H, W, C] of the same or [N, H, W]."""
    return images[..., None] if images.ndim == 3 else images

"""Bijections of images of whole numbers: a coarse image, and the details that complete it.

Every band has as many levels as a pixel, and every combination of bands belongs to an image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diffenc_jax.core.errors import require

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Transform:
    """A bijection of images, uint8 [N, H, W, C] with values below `levels`, from a bijection of pairs of neighbours.

    Attributes:
      kind: name of the bijection of pairs, of `KINDS`.
      levels: number of pixel levels.
    """

    kind: str
    levels: int

    def split(self, images: np.ndarray) -> Pair:
        """The coarse image [N, H/2, W/2, C], and details [N, H/2, W/2, 3 C].

        Pairs of neighbouring rows are transformed, and then pairs of columns. Raises InputError unless height and width
        are even.
        """
        _, height, width, _ = images.shape
        require(height % 2 == width % 2 == 0, f"images of {height}x{width} have no halves; take even sizes")
        rows = self._pair(images[:, ::2], images[:, 1::2])
        (coarse, across), others = (self._pair(band[:, :, ::2], band[:, :, 1::2]) for band in rows)
        return coarse, np.concatenate([across, *others], axis=-1)

    def join(self, coarse: np.ndarray, details: np.ndarray) -> np.ndarray:
        """The images that `split` divides into `coarse` and `details`."""
        across, *others = np.split(details, 3, axis=-1)
        pairs = (coarse, across), (others[0], others[1])
        top, bottom = (_in_turn(self._pair(*pair, back=True), 2) for pair in pairs)
        return _in_turn(self._pair(top, bottom, back=True), 1)

    def parts(self, images: np.ndarray, times: int) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """The coarse image after `times` splits, without a label, and the details from coarse to fine, with labels.

        The label is the image that a decoder already has: the coarse image of the same split.
        """
        parts: list[tuple[np.ndarray, np.ndarray | None]] = []
        for _ in range(times):
            images, details = self.split(images)
            parts.insert(0, (details, images))
        return [(images, None), *parts]

    def _pair(self, a: np.ndarray, b: np.ndarray, back: bool = False) -> Pair:
        return KINDS[self.kind](a, b, self.levels, back)


def turned(a: np.ndarray, b: np.ndarray, levels: int, back: bool) -> Pair:
    """Pairs (a, b) of values 0 .. levels - 1, rotated by 45 degrees in the maximum norm, or back.

    Let 0 be the middle of the range. The pairs with larger magnitude r lie on the outline of a square. Each pair moves
    along the outline by an eighth of its length: a pair of equal values becomes (a, 0), and a small difference stays
    small. The first result is therefore a coarse value and the second a detail, like sum and difference. Unlike these,
    both have as many levels as a pixel, and all pairs of results occur. (Senecal et al., "An improved N-bit to N-bit
    reversible Haar-like transform", Pacific Graphics 2004. Differences themselves have 2 levels - 1 values, most of
    which are impossible beside a given sum.)
    """
    x, y = (2 * values.astype(np.int32) - (levels - 1) for values in (a, b))
    r = np.maximum(abs(x), abs(y))
    sides = [(x == r) & (y > -r), (y == -r) & (x > -r), (x == -r) & (y < r)]
    # Points of the outline, two apart, are numbered clockwise from the corner (r, r): down, left, up and right.
    number = np.select(sides, [r - y, 3 * r - x, 5 * r + y], 7 * r + x) // 2
    side, along = np.divmod((number + (-(r // 2) if back else r // 2)) % np.maximum(4 * r, 1), np.maximum(r, 1))
    near, far = r - 2 * along, 2 * along - r
    moved = np.choose(side, [r, near, -r, far]), np.choose(side, [near, -r, far, r])
    first, second = (((values + levels - 1) // 2).astype(np.uint8) for values in moved)
    return first, second


def kept(a: np.ndarray, b: np.ndarray, levels: int, back: bool) -> Pair:
    """The unchanged pairs: the coarse image is one pixel in four, and the details are the other pixels (no wavelet)."""
    return a, b


KINDS: dict[str, Callable[[np.ndarray, np.ndarray, int, bool], Pair]] = {"haar": turned, "pixels": kept}


def _in_turn(pair: Pair, axis: int) -> np.ndarray:
    """Two arrays, interleaved along `axis`."""
    shape = list(pair[0].shape)
    shape[axis] *= 2
    return np.stack(pair, axis + 1).reshape(shape)

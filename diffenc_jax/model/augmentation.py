"""Augmentation of training images: random flips, rotations and colour swaps, and the flags that say which were made."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import jax
import jax.numpy as jnp

from diffenc_jax.config.sections import AUGMENTATIONS, COLORS, FLIP, ROTATE
from diffenc_jax.core.errors import require

MOST_CHANNELS = 4  # the 24 permutations of four channels are all computed, and one is selected per image
# By kind, the number of transformations and the k-th one of images [B, H, W, C]; number 0 changes nothing.
COUNTS: dict[str, Callable[[int], int]] = {FLIP: lambda _: 2, ROTATE: lambda _: 4, COLORS: math.factorial}
TRANSFORMATIONS: dict[str, Callable[[jax.Array, int], jax.Array]] = {
    FLIP: lambda pixels, k: pixels[:, :, ::-1] if k else pixels,
    ROTATE: lambda pixels, k: jnp.rot90(pixels, k, axes=(1, 2)),
    COLORS: lambda pixels, k: pixels[..., list([*permutations(range(pixels.shape[-1]))][k])],  # lexicographic
}


@dataclass(frozen=True)
class Augmentation:
    """Random transformations of images, independent for each image and kind, with all of a kind equally probable.

    A choice holds the number of each image's transformation by kind, int32 [B]. With 'flip' and 'rotate' together each
    of the eight symmetries of the square is equally probable.

    Attributes:
      kinds: names of `AUGMENTATIONS`, in the order in which they are applied; empty for no augmentation.
      channels: number of channels of the images.
    """

    kinds: tuple[str, ...]
    channels: int

    @property
    def counts(self) -> dict[str, int]:
        """Number of transformations by kind."""
        return {kind: COUNTS[kind](self.channels) for kind in self.kinds}

    @property
    def num_flags(self) -> int:
        """Number of flags per image: one per transformation that changes something."""
        return sum(count - 1 for count in self.counts.values())

    def draw(self, key: jax.Array, size: int) -> dict[str, jax.Array]:
        """A random choice for `size` images. The choice of one kind does not depend on the other kinds."""
        keys = {kind: jax.random.fold_in(key, AUGMENTATIONS.index(kind)) for kind in self.kinds}
        return {kind: jax.random.randint(keys[kind], (size,), 0, n, jnp.int32) for kind, n in self.counts.items()}

    def apply(self, pixels: jax.Array, choice: dict[str, jax.Array]) -> jax.Array:
        """Images [B, H, W, C], each transformed as chosen."""
        for kind, count in self.counts.items():
            chosen, transformed = choice[kind][:, None, None, None], pixels
            for k in range(1, count):
                transformed = jnp.where(chosen == k, TRANSFORMATIONS[kind](pixels, k), transformed)
            pixels = transformed
        return pixels

    def flags(self, choice: dict[str, jax.Array]) -> jax.Array:
        """Flags [B, num_flags] in {0, 1}: one group per kind, and in it a one for the chosen transformation.

        A group is zero where its kind changes nothing, so all flags of an unchanged image are zero.
        """
        groups = [jax.nn.one_hot(choice[kind] - 1, n - 1, dtype=jnp.float32) for kind, n in self.counts.items()]
        return jnp.concatenate(groups, axis=1)


def make_augmentation(kinds: tuple[str, ...], shape: tuple[int, ...]) -> Augmentation:
    """The augmentation of images of `shape` (height, width, channels); raises InputError if it does not suit them."""
    if not kinds:
        return Augmentation(kinds, 0)
    given = f"train.augment={','.join(kinds)}"
    require(len(shape) == 3, f"{given} is for images, and the data have the shape {list(shape)}")
    height, width, channels = shape
    size = f"these are {height}x{width} with {channels} channel{'s' * (channels > 1)}"
    but = f"but {size}; leave it out of train.augment"
    require(FLIP not in kinds or width > 1, f"'{FLIP}' mirrors images from left to right, {but}")
    is_square = height == width > 1
    require(ROTATE not in kinds or is_square, f"'{ROTATE}' turns square images by multiples of 90 degrees, {but}")
    has_colors = 2 <= channels <= MOST_CHANNELS
    require(COLORS not in kinds or has_colors, f"'{COLORS}' permutes 2 to {MOST_CHANNELS} channels, {but}")
    return Augmentation(kinds, channels)

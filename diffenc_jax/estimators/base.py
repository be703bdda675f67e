"""What an estimator of the likelihood is, and the key that all of them draw an image's noise from."""

from typing import Any, Protocol

import jax
import numpy as np

from diffenc_jax.model import Params
from diffenc_jax.streams import stream

# Arrays that the values depend on besides the parameters: steps, or tables fitted on training images.
Tables = dict[str, jax.Array]


class Estimator(Protocol):
    """How a likelihood is estimated, image by image, in several passes.

    Attributes:
      terms: names of the values that add up to an image's nats.
      phrases: how to say what `remarks` holds, by its keys.
      name: for names of files.
      passes: how often every image is looked at.
      replicates: into how many groups the passes fall that know nothing of each other, pass p into
        group p mod replicates; None for a single pass.
    """

    terms: tuple[str, ...]
    phrases: dict[str, str]
    passes: int

    @property
    def name(self) -> str: ...

    @property
    def replicates(self) -> int | None: ...

    def describe(self) -> dict[str, Any]:
        """The record's 'estimator': all that the values depend on but the parameters and the images."""
        ...

    def tables(self, params: Params) -> Tables:
        """What is to be found out before the first image."""
        ...

    def estimate(
        self, params: Params, tables: Tables, pixels: jax.Array, indices: jax.Array, number: int
    ) -> dict[str, jax.Array]:
        """Values [B] by name, the `terms` in nats among them, of pass `number` over uint8 [B, H, W, C].

        An image's values come from its pixels and (seed, its index in the split, pass) alone, so that
        they do not depend on the batch that it is in.
        """
        ...

    def remarks(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """What the record says besides, from all values [passes, images] by name."""
        ...


def pass_key(seed: int, index: jax.Array, group: jax.Array) -> jax.Array:
    """The key of the image at `index` of its split in a pass, or a group of passes."""
    return jax.random.fold_in(jax.random.fold_in(stream(seed, "eval"), index), group)

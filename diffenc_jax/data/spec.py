"""`DataSpec`: what a model needs to know of its data, and the form in which a batch holds them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffenc_jax.core.errors import InputError, require
from diffenc_jax.data.checks import as_numbers, check_finite
from diffenc_jax.data.images import NO_LABELS, LabelSpec
from diffenc_jax.diffusion.standard import UNCHANGED, Standard


@dataclass(frozen=True)
class DataSpec:
    """Shape and kind of the data that a model is built for.

    Attributes:
      shape: shape of one example: (height, width, channels) of images, (length, channels) or (features,).
      pixel_levels: number of values that a pixel can have; None for real numbers.
      label_spec: the kind of the labels; read only by a model that is conditioned on them.
      standard: standardisation of real numbers.
    """

    shape: tuple[int, ...]
    pixel_levels: int | None
    label_spec: LabelSpec = NO_LABELS
    standard: Standard = UNCHANGED

    @property
    def levels(self) -> int:
        """`pixel_levels`; raises InputError for real numbers."""
        if self.pixel_levels is None:
            raise InputError("this needs images of whole numbers, and the data of this run are real numbers")
        return self.pixel_levels

    @property
    def standards(self) -> dict[str, Standard]:
        """The standardisations of real numbers, of 'data' and of 'labels'."""
        data = {"data": self.standard} if self.pixel_levels is None else {}
        return data | ({"labels": self.label_spec.standard} if self.label_spec.standard else {})

    @property
    def dtype(self) -> type[np.generic]:
        """Type of the data in a batch."""
        return np.float32 if self.pixel_levels is None else np.uint8

    def checked(self, data: Any, what: str = "") -> np.ndarray:
        """Data as a batch holds them: images uint8 [N, H, W, C], or real numbers as standardised float32 [N, ...].

        Raises InputError unless they have the shape, and are finite or whole numbers 0 .. pixel_levels - 1.
        """
        what = what or ("images" if self.pixel_levels else "data")
        array = as_numbers(what, data)
        fits = array.shape[1:] == self.shape and len(array) > 0
        require(fits, f"{what} must be [N, {', '.join(map(str, self.shape))}]; these are {list(array.shape)}")
        if self.pixel_levels is None:
            x = self.standard.single(array)
            check_finite(f"the {what}, standardised in float32", x)
            return x
        last = self.pixel_levels - 1
        whole = np.issubdtype(array.dtype, np.integer)
        require(whole, f"images must be uint8, with the values 0 .. {last}; these are {array.dtype}")
        low, high = int(array.min()), int(array.max())
        message = f"pixels must lie in 0 .. {last}; those of these images lie in {low} .. {high}"
        require(low >= 0 and high <= last, message)
        return array.astype(np.uint8)

    def restored(self, data: np.ndarray) -> np.ndarray:
        """Data of a batch in the units of the data set: real numbers as float64."""
        return self.standard.undo(data.astype(np.float64)) if self.pixel_levels is None else data

    def labels(self, labels: Any, count: int | None) -> np.ndarray:
        """Labels of `count` examples as a batch holds them: int32 [N], uint8 [N, h, w, c] or float32 [N, K].

        Vectors are standardised. Without a `count` there may be any number of them. Raises InputError for other labels.
        """
        array, spec = as_numbers("labels", labels), self.label_spec
        if spec.shape:
            levels = None if spec.standard else self.levels
            array = DataSpec(spec.shape, levels, standard=spec.standard or UNCHANGED).checked(array, "labels")
            several = f"give one label per example; these are {len(array)} for {count} examples"
            require(count in (None, len(array)), several)
            return array
        whole = np.issubdtype(array.dtype, np.integer) and array.ndim == 1 and count in (None, len(array))
        inside = whole and bool((array >= 0).all() and (array < self.label_spec.classes).all())
        require(inside, f"give one label of 0 .. {self.label_spec.classes - 1} per image")
        return array.astype(np.int32)

    @property
    def labels_are_arrays(self) -> bool:
        """Whether labels are images or vectors rather than classes."""
        return self.label_spec.shape is not None

    @property
    def label_size(self) -> int:
        """Number of a label's inputs to the networks: one per class, or one per value of an array."""
        return math.prod(self.label_spec.shape) if self.label_spec.shape else self.label_spec.classes

    @property
    def dims(self) -> int:
        """Number of dimensions of one example."""
        return math.prod(self.shape)

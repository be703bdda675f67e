"""The U-Net of the details, with the coarse image as a further input."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import require
from diffenc_jax.diffusion.encoders import Trainable
from diffenc_jax.nets.embeddings import fourier_features
from diffenc_jax.nets.unet import UNet


class Beside(UNet):
    """The U-Net for data sets whose labels are images of the same height and width: labels are inputs beside z_t."""

    def check(self, path: str, shape: tuple[int, ...]) -> None:
        super().check(path, shape)
        fits = self.conditions > 0 and self.conditions % (shape[0] * shape[1]) == 0
        require(fits, f"{path}.kind=beside needs model.labels=True and labels that are images of {shape[0]}x{shape[1]}")

    def inputs(self, x: jax.Array, condition: jax.Array | None) -> tuple[jax.Array, None]:
        own, _ = super().inputs(x, condition)
        image = condition.reshape(*x.shape[:3], -1)
        return jnp.concatenate([own, fourier_features(image, self.fourier_bins, self.bin_width)], axis=-1), None


class BesideEncoder(Trainable):
    """DiffEnc's encoder with such a network."""

    network_kind: ClassVar[str] = "cascade.networks:Beside"

"""Samples from a model, and the picture of them."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from diffenc_jax import hosts
from diffenc_jax.config import LEARNED, require, unpack
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.model import Model, Params
from diffenc_jax.streams import stream

MIN_SIDE = 480  # a grid is enlarged by a whole factor until it is at least that wide
GAP = 1


@dataclass(frozen=True)
class SampleConfig:
    """`num` images in `depth` ancestral steps from noise of `seed`."""

    num: int
    depth: int
    seed: int

    def __post_init__(self):
        require(self.num >= 1, f"sample.num must be at least 1, not {self.num}")
        require(self.depth >= 1, f"sample.depth must be at least 1, not {self.depth}")

    @classmethod
    def of(cls, config: ConfigDict) -> "SampleConfig":
        """From `config.sample`; raises InputError where `config.loss` has no steps of that depth."""
        section = unpack(cls, config.sample, "sample")
        ratio, depth = config.loss.variance_ratio, config.loss.depth
        require(
            ratio != LEARNED or section.depth == depth,
            f"sample.depth={section.depth} must be loss.depth={depth}, since the learned ratio is one a step",
        )
        return section


def sample(model: Model, params: Params, steps: Steps, settings: SampleConfig) -> np.ndarray:
    """uint8 [num, H, W, C], drawn through `steps`."""
    draw = jax.jit(partial(model.sample, num=settings.num))
    return hosts.whole(draw(params, stream(settings.seed, "sample"), steps=steps))


def write(images: np.ndarray, levels: int, path: Path) -> Path:
    """Writes a picture of uint8 [N, H, W, C] and returns its path: a grid, or a scatter plot of 2-d points."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if images.shape[1:] == (1, 1, 2):
        _scatter(images[:, 0, 0], levels, path)
    else:
        from PIL import Image

        Image.fromarray(grid(images, levels)).save(path)
    return path


def grid(images: np.ndarray, levels: int) -> np.ndarray:
    """[N, H, W, C] of values below `levels` -> one picture, uint8 [h, w] or [h, w, 3], about square.

    Images of other than one or three channels show their channels side by side.
    """
    n, height, width, channels = images.shape
    if channels not in (1, 3):
        images = images.transpose(0, 1, 3, 2).reshape(n, height, width * channels, 1)
        width, channels = width * channels, 1
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    bright = np.round(images.astype(np.float32) * (255 / (levels - 1))).astype(np.uint8)
    canvas = np.full((rows * columns, height + GAP, width + GAP, channels), 255, np.uint8)
    canvas[:n, :height, :width] = bright
    canvas = canvas.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    picture = canvas.reshape(rows * (height + GAP), columns * (width + GAP), channels)[:-GAP, :-GAP]
    factor = math.ceil(MIN_SIDE / picture.shape[1])
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    return picture[..., 0] if channels == 1 else picture


def _scatter(points: np.ndarray, levels: int, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=2)
    axes.set(
        xlim=(0, levels - 1), ylim=(0, levels - 1), xlabel="first coordinate (bin)", ylabel="second coordinate (bin)"
    )
    axes.set_aspect("equal")
    figure.savefig(path, dpi=120)

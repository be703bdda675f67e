"""The picture: how near samples come to training images, and the nearest of them side by side."""

from pathlib import Path

import numpy as np

from diffenc_jax.palette import COLOURS
from diffenc_jax.sample_quality.neighbours import Neighbours
from diffenc_jax.sampling.pictures import bright

PAIRS = 24
COLUMNS = 12
# Pixels around an image, and besides around a pair.
GAP = 1
BINS = 40
WIDTH = 8  # of the figure, inches


def write(
    samples: np.ndarray, train: np.ndarray, found: Neighbours, unseen: Neighbours, levels: int, path: Path
) -> None:
    """Draws the distances of samples and unseen images, and samples over their nearest training images.

    First the samples that are nearest to any, then the first ones, whatever they are. Images of a single pixel are
    not shown.
    """
    from matplotlib.figure import Figure

    shown = {}
    if samples.shape[1] * samples.shape[2] > 1:
        orders = {
            "samples that are nearest to training images": np.argsort(found.distances, kind="stable"),
            "the first samples": np.arange(len(samples)),
        }
        chosen = {title: order[:PAIRS] for title, order in orders.items()}
        shown = {t: pairs(samples[rows], train[found.numbers[rows]], levels) for t, rows in chosen.items()}
    heights = [2.6, *(0.3 + WIDTH * picture.shape[0] / picture.shape[1] for picture in shown.values())]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    edges = np.histogram_bin_edges(np.concatenate([found.distances, unseen.distances]), BINS)
    for of, name, colour in ((unseen, "test images", COLOURS[0]), (found, "samples", COLOURS[1])):
        axes[0].hist(of.distances, edges, density=True, histtype="step", color=colour, label=name, linewidth=1.5)
    axes[0].set(xlabel="distance to the nearest training image (L2, levels)", ylabel="density")
    axes[0].legend(frameon=False)
    for below, (title, picture) in zip(axes[1:], shown.items(), strict=True):
        below.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        below.set_title(f"{title}, each over the training image nearest to it", fontsize="medium")
        below.axis("off")
    figure.savefig(path, dpi=150)


def pairs(above: np.ndarray, below: np.ndarray, levels: int) -> np.ndarray:
    """One picture uint8 [h, w] or [h, w, 3] of images [N, H, W, C], each of `above` over its own of `below`.

    Of other than one or three channels, the first is shown.
    """
    images = np.concatenate([_framed(part, levels) for part in (above, below)], axis=1)
    columns = min(COLUMNS, len(images))
    sides = ((0, -len(images) % columns), (GAP, GAP), (GAP, GAP), (0, 0))
    images = np.pad(images, sides, constant_values=255)
    images[len(above) :] = 255
    _, height, width, channels = images.shape
    grid = images.reshape(-1, columns, height, width, channels).swapaxes(1, 2).reshape(-1, columns * width, channels)
    return grid[..., 0] if channels == 1 else grid


def _framed(images: np.ndarray, levels: int) -> np.ndarray:
    shown = images if images.shape[3] in (1, 3) else images[..., :1]
    return np.pad(bright(shown, levels), ((0, 0), (GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)

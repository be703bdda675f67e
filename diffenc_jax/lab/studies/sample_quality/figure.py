"""The figure of sample quality: distances of samples to training images, and the nearest pairs side by side."""

from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.lab.figures.style import BLACK, PAGE, arm_style, literal, new_figure, style, wrapped
from diffenc_jax.lab.studies.sample_quality.neighbours import Neighbours
from diffenc_jax.sampling.pictures import grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = 24
COLUMNS = 12
GAP = 1  # white pixels around an image
BINS = 40


@style()
def draw_neighbours(
    samples: np.ndarray, train: np.ndarray, found: Neighbours, unseen: Neighbours, pixel_levels: int, arm: str
) -> "Figure":
    """Histograms of distances, and samples over their nearest training images.

    One picture has the samples that are nearest to any training image, the next one the first samples. Images of a
    single pixel have no pictures.

    Args:
      samples, train: uint8 [N, H, W, C].
      found, unseen: nearest training images of the samples, and of unseen images.
      arm: the arm that the samples are of.
    """
    pictures = {}
    if samples.shape[1] * samples.shape[2] > 1:
        orders = {
            "samples that are nearest to training images": np.argsort(found.distances, kind="stable"),
            "the first samples": np.arange(len(samples)),
        }
        for title, order in orders.items():
            rows = order[:PAIRS]
            pictures[title] = draw_pairs(samples[rows], train[found.numbers[rows]], pixel_levels)
    heights = [2.2, *(0.3 + PAGE * picture.shape[0] / picture.shape[1] for picture in pictures.values())]
    figure, grid = new_figure(PAGE, sum(heights), nrows=len(heights), squeeze=False, height_ratios=heights)
    axes = grid[:, 0]
    edges = np.histogram_bin_edges(np.concatenate([found.distances, unseen.distances]), BINS)
    for nearest, name, look in (
        (unseen, "test images", {"color": BLACK, "linestyle": ":"}),
        (
            found,
            wrapped(literal(f"samples of {arm}"), PAGE / 2 - 1),
            {key: arm_style(arm)[key] for key in ("color", "linestyle")},
        ),
    ):
        axes[0].hist(nearest.distances, edges, density=True, histtype="step", label=name, linewidth=1.2, **look)
    axes[0].set(xlabel="distance to the nearest training image ($L_2$ norm, in pixel levels)", ylabel="density")
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)  # above, where it hides nothing
    for below, (title, picture) in zip(axes[1:], pictures.items(), strict=True):
        below.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        below.set_title(f"{title}, each over the training image nearest to it")
        below.axis("off")
    return figure


def draw_pairs(above: np.ndarray, below: np.ndarray, pixel_levels: int) -> np.ndarray:
    """One picture uint8 [h, w] or [h, w, 3] of images [N, H, W, C], each of `above` over its own of `below`."""
    sides = ((0, 0), (GAP, GAP), (GAP, GAP), (0, 0))
    framed = [np.pad(images, sides, constant_values=pixel_levels - 1) for images in (above, below)]
    return grid(np.concatenate(framed, axis=1), pixel_levels, COLUMNS, min_width=1)

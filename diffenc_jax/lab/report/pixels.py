"""Bits per pixel of the images with the fewest and the most bits, from the maps beside a record."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from diffenc_jax.core.document import Section, Text
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.figures.style import PAGE, literal, new_figure, style
from diffenc_jax.lab.report.collect import Collection, Record, Run
from diffenc_jax.lab.report.command_lines import not_made_yet, run_line
from diffenc_jax.lab.report.embedded import Picture, embed_figure
from diffenc_jax.lab.studies.study import data_title
from diffenc_jax.runs.maps import read_maps
from diffenc_jax.runs.records import PER_PIXEL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE = "above each image its bits/dim, and below it its bits per pixel, summed over channels and terms of the bound"


class Shown(NamedTuple):
    """Images with the fewest bits, and then as many with the most.

    Attributes:
      images: grey values or colours from 0 to 1, [2 K, H, W, 1 or 3].
      bits: bits per pixel [2 K, H, W].
      bits_per_dim: [2 K].
    """

    images: np.ndarray
    bits: np.ndarray
    bits_per_dim: np.ndarray


def pixels_section(collection: Collection) -> Section:
    """Maps of the first run of each group."""
    blocks, without = [], []
    for run in collection.first_of_groups.values():
        record = next((one for one in run.newest if one.record["estimator"].get(PER_PIXEL) and one.evaluation), None)
        if record is None:
            without.append(run)
        else:
            blocks.append(_picture(run, record))
    lines = (f"{run_line('eval', run)} --config.eval.per_pixel=True" for run in without)
    return Section("Bits by pixel", [*blocks, *not_made_yet("maps of bits per pixel", without, lines)])


def _picture(run: Run, record: Record) -> Picture | Text:
    """The figure of a record, or the reason why there is none."""
    try:
        maps = read_maps(record.path)
    except InputError as error:
        return Text(str(error))
    bits = sum(nats[maps.rows].astype(np.float64) for nats in maps.nats.values()) / math.log(2)
    images = np.clip(maps.pixels / (run.config.data.pixel_levels - 1), 0, 1)
    images = images if images.shape[-1] in (1, 3) else images.mean(axis=-1, keepdims=True)
    shown = Shown(images, bits.sum(axis=-1), bits.mean(axis=(1, 2, 3)))
    title = f"{run.title} on {data_title(run.config.data.source, record.record['dataset']['split'], record.step)}"
    fewest, most = (f"{bits:.3f}" for bits in shown.bits_per_dim[[0, -1]])
    alt = (
        f"The images with the fewest and with the most bits of {title}, from {fewest} to {most} bits/dim, each above "
        f"the map of its bits per pixel, of which a pixel has at most {shown.bits.max():.1f}."
    )
    return embed_figure(draw_maps(shown, title), alt, f"{title}: {NOTE}.")


@style()
def draw_maps(shown: Shown, title: str) -> "Figure":
    """Rows of the images with the fewest and with the most bits, each above its maps, on one scale of colours."""
    count, height, width = len(shown.bits) // 2, *shown.bits.shape[1:]
    side = PAGE / (count + 1)
    size = 1.0 + 4 * side * height / width + 0.4
    figure, axes = new_figure(PAGE, size, literal(title), nrows=4, ncols=count, squeeze=False)
    finite = shown.bits[np.isfinite(shown.bits)]
    most = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for i, (image, bits, bits_per_dim) in enumerate(zip(*shown, strict=True)):
        above, below = axes[2 * (i // count) : 2 * (i // count) + 2, i % count]
        above.imshow(image, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")  # cmap: only for grey values
        above.set_title(f"{bits_per_dim:.3f}")
        drawn = below.imshow(bits, cmap="magma", vmin=0.0, vmax=most, interpolation="nearest")
    for row, label in enumerate(("fewest bits", "bits per pixel", "most bits", "bits per pixel")):
        axes[row, 0].set_ylabel(label)
    figure.colorbar(drawn, ax=axes, label="bits per pixel", shrink=0.6)
    return figure

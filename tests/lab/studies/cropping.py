"""Whether a figure is whole."""

import io

import numpy as np
from PIL import Image

from diffenc_jax.lab.figures.style import figure_bytes


def assert_uncropped(figure):
    """Nothing reaches the border of the figure, or comes within half a millimetre of it."""
    with Image.open(io.BytesIO(figure_bytes(figure, "png"))) as picture:
        pixels = np.asarray(picture.convert("L"))
    for border in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (border == 255).all()
    figure.draw_without_rendering()  # places everything for the figure's own resolution
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, width - box.x1, box.y0, height - box.y1) > 0.02

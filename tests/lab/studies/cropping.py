"""Whether a figure is whole."""

import io

import numpy as np
from PIL import Image

from diffenc_jax.lab.figures.style import DPI, figure_bytes


def assert_uncropped(figure):
    """Nothing comes within half a millimetre of the border of the figure."""
    with Image.open(io.BytesIO(figure_bytes(figure, "png"))) as picture:
        pixels = np.asarray(picture.convert("L"))
    most = round(0.02 * DPI)
    for border in (pixels[:most], pixels[-most:], pixels[:, :most], pixels[:, -most:]):
        assert (border == 255).all()

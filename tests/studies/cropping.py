"""Whether a figure is whole."""

import io

import numpy as np
from PIL import Image

from diffenc_jax.display.figures import figure_bytes


def assert_uncropped(figure):
    """Nothing reaches the border of the figure."""
    with Image.open(io.BytesIO(figure_bytes(figure, "png", dpi=100))) as picture:
        pixels = np.asarray(picture.convert("L"))
    for border in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (border == 255).all()

"""Whether a figure is whole, and its labels apart."""

import io
import itertools

import numpy as np
from PIL import Image

from diffenc_jax.lab.figures.style import figure_bytes


def assert_uncropped(figure):
    """Nothing reaches the border of the figure, or comes within half a millimetre of it."""
    with Image.open(io.BytesIO(figure_bytes(figure, "png", dpi=100))) as picture:
        pixels = np.asarray(picture.convert("L"))
    for border in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (border == 255).all()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, width - box.x1, box.y0, height - box.y1) > 0.02


def assert_labels_apart(figure):
    """No two labels of an axis overlap."""
    figure.draw_without_rendering()  # places the labels
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [label.get_window_extent() for label in labels if label.get_visible() and label.get_text()]
            for box, following in itertools.pairwise(boxes):
                assert not box.overlaps(following), [label.get_text() for label in labels]

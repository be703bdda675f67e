"""The picture grid: every pixel where it belongs."""

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.sample import grid, write


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_grid_shows_every_image(tmp_path, channels, mode):
    images = np.random.RandomState(0).randint(0, 17, (5, 4, 4, channels)).astype(np.uint8)
    with Image.open(write(images, 17, tmp_path / "grid.png")) as picture:
        assert picture.mode == mode
        pixels = np.asarray(picture).reshape(picture.height, picture.width, channels)
    factor = pixels.shape[1] // (3 * 5 - 1)  # three columns of four pixels and a gap
    small = pixels[::factor, ::factor]
    for i, image in enumerate(images):
        row, column = divmod(i, 3)
        shown = small[5 * row : 5 * row + 4, 5 * column : 5 * column + 4]
        np.testing.assert_array_equal(shown, np.round(image * (255 / 16)).astype(np.uint8))
    assert (small[5:9, 10:14] == 255).all()  # the sixth place is empty


def test_other_channels_stand_side_by_side():
    images = np.arange(4 * 2 * 2 * 4, dtype=np.uint8).reshape(4, 2, 2, 4)
    picture = grid(images, 256)
    assert picture.ndim == 2
    factor = picture.shape[1] // (2 * 9 - 1)
    np.testing.assert_array_equal(picture[::factor, ::factor][:2, 2:4], images[0, :, :, 1])


def test_points_of_two_dimensions_are_plotted(tmp_path):
    points = np.random.RandomState(0).randint(0, 256, (50, 1, 1, 2)).astype(np.uint8)
    with Image.open(write(points, 256, tmp_path / "points.png")) as picture:
        assert len(set(picture.convert("RGB").getdata())) > 10

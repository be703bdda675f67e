"""Pictures: every pixel where it belongs."""

import math

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.sampling.pictures import grid, scatter, write_picture


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_grid_shows_every_image(tmp_path, channels, mode):
    images = np.random.RandomState(0).randint(0, 17, (5, 4, 4, channels)).astype(np.uint8)
    write_picture(images, 17, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
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
    np.testing.assert_array_equal(grid(images, 256)[:2, 2:4], images[0, :, :, 1])


def test_points_stand_at_their_coordinates(tmp_path):
    """The first one to the right, the second one upwards."""
    points = np.array([[2, 0], [1, 1]], np.uint8).reshape(2, 1, 1, 2)
    assert scatter(points, levels=3).tolist() == [[255, 255, 255], [255, 0, 255], [255, 255, 0]]
    write_picture(points, 256, tmp_path / "points.png")
    with Image.open(tmp_path / "points.png") as picture:
        assert picture.size == (512, 512)


def test_more_images_than_a_picture_shows(tmp_path):
    write_picture(np.zeros((101, 4, 4, 1), np.uint8), 17, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width == picture.height == 49 * math.ceil(480 / 49)  # ten by ten

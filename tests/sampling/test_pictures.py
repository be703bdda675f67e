"""Pictures: every pixel where it belongs."""

import itertools
import math

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.sampling import pictures
from diffenc_jax.sampling.draw import Frame, Reconstruction
from diffenc_jax.sampling.pictures import MARGIN, SIDE_CAPTION, grid, write_picture
from tests import tiny


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
    picture = grid(images, 256)
    assert picture.ndim == 2
    factor = picture.shape[1] // (2 * 9 - 1)
    np.testing.assert_array_equal(picture[::factor, ::factor][:2, 2:4], images[0, :, :, 1])


def test_a_point_stands_at_its_coordinates():
    """The first one to the right, the second one upwards; bin k of V is at (k + 1) / (V + 1) of the side."""
    plot = pictures.scatter(np.array([2, 0], np.uint8).reshape(1, 1, 1, 2), levels=3, side=100)
    rows, columns = np.nonzero((plot[1:-1, 1:-1] != 255).any(axis=-1))
    assert (rows.mean(), columns.mean()) == pytest.approx((74, 74), abs=1)


def test_points_of_two_dimensions_are_plotted(tmp_path):
    points = np.random.RandomState(0).randint(0, 256, (50, 1, 1, 2)).astype(np.uint8)
    write_picture(points, 256, tmp_path / "points.png")
    with Image.open(tmp_path / "points.png") as picture:
        assert len(set(picture.convert("RGB").getdata())) > 10


def test_more_images_than_a_picture_shows(tmp_path):
    write_picture(np.zeros((101, 4, 4, 1), np.uint8), 17, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width == picture.height == 49 * math.ceil(480 / 49)  # ten by ten


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4, 3), (1, 1, 2)])
def test_a_film_shows_every_frame_and_the_last_one_longer(tmp_path, shape):
    rng = np.random.RandomState(0)
    frames = [Frame(gamma, *rng.uniform(0, 16, (2, 4, *shape))) for gamma in (5.0, 1.0, -7.9)]
    pictures.write_film(frames, 17, tmp_path / "path.gif")
    with Image.open(tmp_path / "path.gif") as gif:
        assert gif.n_frames == 3
        durations, shown = [], []
        for number in range(3):
            gif.seek(number)
            durations.append(gif.info["duration"])
            shown.append(np.asarray(gif.convert("RGB"), int))
    assert durations == [100, 100, 3000]
    if shape == (1, 1, 2):
        assert all(np.any(a != b) for a, b in itertools.pairwise(shown))
        return
    for picture, frame in zip(shown, frames, strict=True):
        width = 9 * math.ceil(320 / 9)
        for number, values in enumerate((frame.z, frame.x_hat)):
            left = MARGIN + number * (width + MARGIN)
            seen = picture[-MARGIN - width : -MARGIN, left : left + width]
            small = seen[18 :: width // 9, 18 :: width // 9]
            expected = np.broadcast_to(np.round(values[3] * 255 / 16), (4, 4, 3))
            np.testing.assert_allclose(small[5:, 5:], expected, atol=8 if shape[-1] == 3 else 0.5)  # 256 colours


def test_rows_of_reconstructions(tmp_path):
    originals, others = tiny.images(12), tiny.images(12, seed=1)
    pictures.write_reconstructions(originals, [Reconstruction(0.5, -1.0, others)], 17, tmp_path / "rows.png")
    picture = np.asarray(Image.open(tmp_path / "rows.png").convert("L"), int)
    factor = math.ceil(720 / (12 * 5 - 1))
    for row, images in enumerate((originals, others)):
        top = MARGIN + row * (4 * factor + MARGIN)
        left = SIDE_CAPTION + 11 * 5 * factor
        seen = picture[top + factor // 2 :: factor, left + factor // 2 :: factor][:4, :4]
        np.testing.assert_array_equal(seen, np.round(images[11, :, :, 0] * (255 / 16)))
    assert (picture[:, :SIDE_CAPTION] < 128).any()


def test_reconstructed_points(tmp_path):
    points = np.random.RandomState(0).randint(0, 256, (50, 1, 1, 2)).astype(np.uint8)
    pictures.write_reconstructions(points, [Reconstruction(0.5, -1.0, points)], 256, tmp_path / "points.png")
    with Image.open(tmp_path / "points.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 100

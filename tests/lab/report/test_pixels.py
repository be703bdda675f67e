"""Maps of bits per pixel on the page: the images that are shown, and their numbers."""

import json
import math

import numpy as np
import pytest

from diffenc_jax.lab.report.collect import collect
from diffenc_jax.lab.report.pixels import Shown, draw_maps, pixels_section
from diffenc_jax.runs.maps import Maps, extremes
from diffenc_jax.runs.records import read_record, read_values, write_record
from tests.lab.report import made_up
from tests.lab.studies.significance import made_up as runs

SHAPE = (runs.IMAGES, 4, 4, 4)


def write_maps(place):
    """Give the record of a run maps: three random ones per image, in proportion to its number."""
    path = runs.record_file(place)
    record, arrays = read_record(path), read_values(path)
    rng = np.random.RandomState(0)
    scale = np.arange(1, runs.IMAGES + 1).reshape(-1, 1, 1, 1)
    nats = {term: (scale * rng.uniform(0.1, 0.11, SHAPE)).astype(np.float32) for term in ("latent", "diffusion")}
    rows = extremes(sum(nats.values()).sum(axis=(1, 2, 3)))
    maps = Maps(nats, rows, rng.randint(0, 17, (len(rows), *SHAPE[1:])).astype(np.uint8))
    record["estimator"]["per_pixel"] = True
    write_record(path, record, arrays | maps.to_arrays())
    return sum(nats.values()) / math.log(2)


def test_the_page_shows_the_maps_of_a_run(tmp_path):
    """With the bits/dim of the images with the fewest and the most, and the most bits of a pixel."""
    place, other = (runs.write(tmp_path, arm, 0) for arm in ("vdm", "diffenc"))
    bits = write_maps(place)
    page = made_up.write_page(tmp_path / "page.html", place, other)
    by_image, by_pixel = bits.mean(axis=(1, 2, 3)), bits.sum(axis=3)
    (picture,) = [image for image in page.all("img") if "bits per pixel" in image["alt"]]
    assert f"from {by_image.min():.3f} to {by_image.max():.3f} bits/dim" in picture["alt"]
    assert f"a pixel has at most {by_pixel.max():.1f}" in picture["alt"]
    assert f"diffenc eval {other} --config.eval.per_pixel=True" in page.code
    assert "diffenc, seed 0" in page.text


def test_the_figure_has_every_image_above_its_map():
    rng = np.random.RandomState(0)
    shown = Shown(rng.uniform(size=(6, 3, 5, 3)), rng.uniform(0, 7, (6, 3, 5)), np.arange(6.0))
    *grid, bar = draw_maps(shown, "title").axes
    grid = np.array(grid).reshape(4, 3)
    for i in range(6):
        above, below = grid[2 * (i // 3) : 2 * (i // 3) + 2, i % 3]
        np.testing.assert_array_equal(above.images[0].get_array(), shown.images[i])
        np.testing.assert_array_equal(below.images[0].get_array(), shown.bits[i])
        assert above.get_title() == f"{i:.3f}"
        assert below.images[0].get_clim() == (0.0, shown.bits.max())
    assert bar.get_ylabel() == "bits per pixel"


@pytest.mark.parametrize("bits", [np.zeros((2, 2, 2)), np.full((2, 2, 2), np.nan)])
def test_maps_without_a_largest_value_have_a_figure(bits):
    assert len(draw_maps(Shown(np.zeros((2, 2, 2, 1)), bits, np.zeros(2)), "title").axes) == 5


def test_a_record_without_its_maps_is_told(tmp_path):
    place = runs.write(tmp_path, "vdm", 0)
    path = runs.record_file(place)
    record = json.loads(path.read_text())
    record["estimator"]["per_pixel"] = True
    path.write_text(json.dumps(record))
    (block,) = pixels_section(collect([place])).blocks
    assert "holds no maps per pixel; evaluate again with --config.eval.per_pixel=True" in block.text

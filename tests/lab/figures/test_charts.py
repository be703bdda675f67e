"""Figures of studies: an arm looks as elsewhere, axes show the data, and nothing is cropped or covered."""

import numpy as np
import pytest

from diffenc_jax.lab.figures.charts import Board, Chart, Panel, draw, with_errors
from tests.lab.studies.cropping import assert_uncropped

PATH = "/a/long/path/to/a/workdir/with_$ymbols$/in/it/runs/digits-diffenc-seed0-lr1e-3"
X = [5, 6, 7, 8, 9, 10, 250, 1000]


def rows(scale=1.0):
    return [{"x": x, "y": scale / x, "y_se": 0.05 * abs(scale) / x} for x in X]


def chart(*curves, from_zero=True, logarithmic=False, **options):
    panel = Panel("y", curves, "", from_zero, logarithmic)
    return Chart("caption", "x", [panel], **options)


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize(("scale", "logarithmic"), [(1.0, False), (-0.01, True), (1.0, True)])
def test_values_and_two_standard_errors_lie_within_the_axes(bars, scale, logarithmic):
    """Unknown values are left out."""
    curve = with_errors("a", [*rows(scale), {"x": 1, "y": None, "y_se": None}], "x", "y")
    (axes,) = draw(chart(curve, from_zero=not logarithmic, logarithmic=logarithmic, bars=bars), PATH).axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(row["x"], row["y"]) for row in rows(scale)])
    ends = [path.vertices[:, 1] for drawn in axes.collections for path in drawn.get_paths()]
    expected = [row["y"] + sign * row["y_se"] for row in rows(scale) for sign in (-2, 2)]
    np.testing.assert_allclose(sorted(set(np.concatenate(ends))), sorted(set(expected)))
    low, high = axes.get_ylim()
    assert low < min(expected) < max(expected) < high
    assert (axes.get_yscale() == "log") == (logarithmic and scale > 0)


def test_nothing_is_cropped():
    names = [PATH, "a-rather-long-name-of-an-arm", *(f"arm {i}" for i in range(6))]
    curves = [with_errors(name, rows(), "x", "y", arm=name) for name in names]
    whole = chart(*curves, from_zero=False, logarithmic=True, note="A note of two lines. " * 5)
    assert_uncropped(draw(whole._replace(panels=[*whole.panels] * 3, logarithmic=True), PATH))
    pictures = [np.zeros((3, 1, 4, 6, 2)), np.ones((3, 2, 4, 6, 2))]
    assert_uncropped(draw(Board("caption", ["a\nb", "b", "c"], ["$x$", "1", "2"], pictures, PATH, "$x_t$"), PATH))


def test_a_board_shows_every_picture():
    """Signed pictures on the scale of the largest."""
    first = np.random.RandomState(0).uniform(-1, 1, (2, 1, 3, 4, 3))
    last = 0.1 * np.random.RandomState(1).uniform(-1, 1, (2, 2, 3, 4, 3))
    last[0, 0, 0, 0] = 0.25
    board = Board("caption", ["a", "b"], [""] * 3, [first, last], symbol="$x_t$")
    shown = draw(board, PATH).axes[0].images[0].get_array()
    np.testing.assert_allclose(shown[4:, :4], 0.5 + 0.5 * first[1, 0])
    np.testing.assert_allclose(shown[:3, 10:], 0.5 + 0.5 * 4 * last[0, 1])

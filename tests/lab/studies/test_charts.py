"""Figures of studies: an arm looks as elsewhere, axes show the data, and nothing is cropped or covered."""

import numpy as np
import pytest

from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.lab.studies.charts import Board, Chart, Panel, draw, with_errors
from tests.lab.studies.cropping import assert_labels_apart, assert_uncropped

PATH = "/a/long/path/to/a/workdir/with_$ymbols$/in/it/runs/digits-diffenc-seed0-lr1e-3"
X = [5, 6, 7, 8, 9, 10, 250, 1000]


def rows(scale=1.0):
    return [{"x": x, "y": scale / x, "y_se": 0.05 * abs(scale) / x} for x in X]


def chart(*curves, from_zero=True, logarithmic=False, **options):
    panel = Panel("y", curves, "", from_zero, logarithmic)
    return Chart("caption", "x", [panel], **options)


def test_an_arm_looks_alike_whatever_stands_beside_it_and_seeds_differ_in_their_lines():
    curves = [with_errors(f"{arm} {seed}", rows(), "x", "y", arm=arm) for seed in (0, 1) for arm in ("mine", "vdm")]
    (axes,) = draw(chart(*curves), PATH).axes
    _, first, _, second = axes.lines
    look = arm_style("vdm")
    for line in (first, second):
        assert (line.get_color(), line.get_marker()) == (look["color"], look["marker"])
    assert first.get_linestyle() != second.get_linestyle()


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize(("scale", "logarithmic"), [(1.0, False), (-0.01, True), (1.0, True)])
def test_values_and_two_standard_errors_lie_within_the_axes(bars, scale, logarithmic):
    curve = with_errors("a", rows(scale), "x", "y")
    (axes,) = draw(chart(curve, from_zero=not logarithmic, logarithmic=logarithmic, bars=bars), PATH).axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(row["x"], row["y"]) for row in rows(scale)])
    ends = [path.vertices[:, 1] for drawn in axes.collections for path in drawn.get_paths()]
    expected = [row["y"] + sign * row["y_se"] for row in rows(scale) for sign in (-2, 2)]
    np.testing.assert_allclose(sorted(set(np.concatenate(ends))), sorted(set(expected)))
    low, high = axes.get_ylim()
    assert low < min(expected) < max(expected) < high
    assert (axes.get_yscale() == "log") == (logarithmic and scale > 0)


def test_unknown_values_are_left_out():
    curve = with_errors("a", [*rows(), {"x": 1, "y": None, "y_se": None}], "x", "y")
    assert (len(curve.y), len(curve.low)) == (len(X), len(X))


def test_nothing_is_cropped_and_no_labels_overlap():
    names = [PATH, "a-rather-long-name-of-an-arm", *(f"arm {i}" for i in range(6))]
    curves = [with_errors(name, rows(), "x", "y", arm=name) for name in names]
    whole = chart(*curves, from_zero=False, logarithmic=True, note="A note of two lines. " * 5)
    figure = draw(whole._replace(panels=[*whole.panels] * 3, logarithmic=True), PATH)
    assert_uncropped(figure)
    assert_labels_apart(figure)
    pictures = [np.zeros((3, 1, 4, 6, 2)), np.ones((3, 2, 4, 6, 2))]
    assert_uncropped(draw(Board("caption", ["a\nb", "b", "c"], ["$x$", "1", "2"], pictures, PATH, True, "$x_t$"), PATH))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_board_shows_every_picture(channels):
    """Signed pictures on the scale of the largest; one channel in diverging colours, three as colours."""
    first = np.random.RandomState(0).uniform(-1, 1, (2, 1, 3, 4, channels))
    last = 0.1 * np.random.RandomState(1).uniform(-1, 1, (2, 2, 3, 4, channels))
    last[0, 0, 0, 0] = 0.25
    board = Board("caption", ["a", "b"], ["", "", ""], [first, last], signed=True)
    shown = draw(board, PATH).axes[0].images[0].get_array()
    width = 4 * (2 if channels == 2 else 1)
    gap = 1
    for row, column, values in ((1, 0, first[1, 0]), (0, 2, 4 * last[0, 1])):
        y, x = row * (3 + gap), column * (width + gap)
        picture = shown[y : y + 3, x : x + width]
        if channels == 3:
            np.testing.assert_allclose(picture, 0.5 + 0.5 * values)
        elif column == 0:
            grey = np.concatenate(np.moveaxis(0.5 + 0.5 * values, -1, 0), axis=1)
            np.testing.assert_allclose(picture, np.repeat(grey[..., None], 3, axis=-1), atol=0.005)
    if channels == 1:
        red, blue = shown[0, width + gap], shown[3 + gap :, width + gap :].reshape(-1, 3)
        assert red[0] > 0.3 > red[2]
        assert len(np.unique(blue, axis=0)) > 10

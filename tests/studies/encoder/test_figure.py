"""Figures show the measured values by their colours."""

import numpy as np
import pytest
from matplotlib import colormaps

from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.studies.encoder.figure import draw_figures
from diffenc_jax.studies.encoder.measure import measure_by_gamma
from diffenc_jax.studies.encoder.table import tabulate
from tests import tiny
from tests.studies import runs

GAMMA_ENDS = -7.0, 5.0


def figures(shape, gammas=4, count=5):
    model = runs.formula_model(NonTrainable(), runs.constant_image(0.3), GAMMA_ENDS, shape)
    effects = measure_by_gamma(runs.opened(model, tiny.images(count, shape)), gammas, keep=3)
    return effects, draw_figures(effects, tabulate(effects), "arm on data")


def cell(figure, row, column, side=4, gap=1):
    """Colours [side, side, 3] of a cell of a board."""
    canvas = figure.axes[0].images[0].get_array()
    y, x = row * (side + gap), column * (side + gap)
    return np.asarray(canvas[y : y + side, x : x + side])


def heads(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_grey_images_and_their_changes():
    """x_t - x = -σ² x: amplified, the same in every column, with its largest value above it."""
    effects, drawn = figures((4, 4, 1))
    x, gamma = effects.x[..., 0], np.linspace(*GAMMA_ENDS, 4)
    sigma2 = 1 / (1 + np.exp(-gamma))
    blue_to_red, grey = colormaps["RdBu_r"], colormaps["gray"]
    for row in range(3):
        np.testing.assert_allclose(cell(drawn["x_t"], row, 0), grey(0.5 + 0.5 * x[row])[..., :3])
        for column in range(4):
            x_t = (1 - sigma2[column]) * x[row]
            np.testing.assert_allclose(cell(drawn["x_t"], row, 1 + column), grey(0.5 + 0.5 * x_t)[..., :3], atol=0.01)
            for name in ("difference", "derivative"):
                amplified = blue_to_red(0.5 - 0.5 * x[row] / np.abs(x).max())[..., :3]
                np.testing.assert_allclose(cell(drawn[name], row, 1 + column), amplified, atol=0.02)
    above = heads(drawn["difference"])
    assert above[0] == "x"
    assert above[1] == f"γ = −7.00\n± {sigma2[0] * np.abs(x).max():.2g}"
    assert above[4] == f"γ = 5.00\n± {sigma2[3] * np.abs(x).max():.2g}"
    assert heads(drawn["x_t"])[1:3] == ["γ = −7.00", "γ = −3.00"]


def test_added_amounts_are_red_and_removed_ones_blue():
    effects, drawn = figures((4, 4, 1))
    added, removed = (cell(drawn["mean"], row, 2) for row in (0, 1))
    largest = max(effects.added_map[2].max(), effects.removed_map[2].max())
    for got, signed in ((added, effects.added_map[2]), (removed, -effects.removed_map[2])):
        expected = colormaps["RdBu_r"](0.5 + 0.5 * signed[..., 0] / largest)[..., :3]
        np.testing.assert_allclose(got, expected, atol=0.02)
    assert heads(drawn["mean"])[2] == f"γ = 1.00\n± {largest:.2g}"


def test_colour_images_are_drawn_in_colour():
    effects, drawn = figures((4, 4, 3))
    np.testing.assert_allclose(cell(drawn["x_t"], 1, 0), 0.5 + 0.5 * effects.x[1], atol=1e-6)
    amplified = 0.5 - 0.5 * effects.x[1] / np.abs(effects.x).max()
    np.testing.assert_allclose(cell(drawn["derivative"], 1, 3), amplified, atol=1e-3)


def test_other_channels_lie_side_by_side():
    effects, drawn = figures((4, 4, 2))
    canvas = drawn["x_t"].axes[0].images[0].get_array()
    grey = colormaps["gray"](0.5 + 0.5 * effects.x[0])[..., :3]  # [4, 4, 2, 3]
    np.testing.assert_allclose(canvas[:4, :8], np.concatenate([grey[:, :, 0], grey[:, :, 1]], axis=1))


def test_points_are_drawn_as_points_and_arrows():
    effects, drawn = figures((1, 1, 2))
    assert set(drawn) == {"x_t", "difference", "derivative", "curves"}
    points, arrows = (drawn[name].axes[-1].collections[0] for name in ("x_t", "difference"))
    np.testing.assert_allclose(points.get_offsets(), effects.x_t[:, -1, 0, 0])
    np.testing.assert_allclose(arrows.XY, effects.x[:, 0, 0])
    np.testing.assert_allclose(np.stack([arrows.U, arrows.V], axis=1), (effects.x_t[:, -1] - effects.x)[:, 0, 0])


def test_curves_are_the_table():
    """Those of the non-trainable encoder lie on the dashed lines."""
    effects, drawn = figures((4, 4, 1))
    change, slope, amounts = drawn["curves"].axes
    rows = tabulate(effects)
    for axes, names in ((change, ["difference"]), (slope, ["derivative", "residual"]), (amounts, ["added", "removed"])):
        lines = [line for line in axes.lines if line.get_linestyle() == "-"]
        for line, name in zip(lines, names, strict=True):
            np.testing.assert_allclose(line.get_ydata(), [row[name] for row in rows])
            np.testing.assert_allclose(line.get_xdata(), effects.gamma)
    for axes in (change, slope):
        dashed = next(line for line in axes.lines if line.get_linestyle() == "--")
        np.testing.assert_allclose(dashed.get_ydata(), axes.lines[0].get_ydata(), rtol=1e-3)


@pytest.mark.parametrize(("gammas", "shown"), [(2, 2), (9, 9), (41, 9), (10, 9)])
def test_some_of_many_gammas_are_shown_with_both_ends(gammas, shown):
    _, drawn = figures((4, 4, 1), gammas, count=2)
    above = heads(drawn["x_t"])[1:]
    assert (above[0], above[-1]) == ("γ = −7.00", "γ = 5.00")
    assert len(set(above)) == len(above) == shown

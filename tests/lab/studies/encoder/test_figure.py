"""Figures show the measured values by their colours."""

import numpy as np
import pytest
from matplotlib import colormaps

from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.lab.studies.encoder.balance import tabulate_price
from diffenc_jax.lab.studies.encoder.figure import draw_figures, draw_price
from diffenc_jax.lab.studies.encoder.measure import measure_by_gamma
from diffenc_jax.lab.studies.encoder.table import tabulate
from tests import tiny
from tests.lab.studies import runs
from tests.lab.studies.cropping import assert_uncropped

GAMMA_ENDS = -7.0, 5.0


def figures(shape, gammas=4, count=5, keep=3):
    model = runs.formula_model(NonTrainable(), runs.constant_image(0.3), GAMMA_ENDS, shape)
    effects = measure_by_gamma(runs.opened(model, tiny.images(count, shape)), gammas, keep)
    return effects, draw_figures(effects, tabulate(effects), "arm on data")


def cell(figure, row, column, side=4, gap=1):
    """Colours [side, side, 3] of a cell of a board."""
    canvas = figure.axes[0].images[0].get_array()
    y, x = row * (side + gap), column * (side + gap)
    return np.asarray(canvas[y : y + side, x : x + side])


def heads(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def places(effects, figure):
    """Numbers of the γ that stand above the columns of a board."""
    shown = [float(head.strip("$").removeprefix("\\gamma=")) for head in heads(figure) if head != "$x$"]
    return [int(np.abs(effects.gamma - gamma).argmin()) for gamma in shown]


def scale(figure):
    """The end of the colour bar, which is the only one."""
    _, bar = figure.axes
    low, high = bar.get_ylim()
    assert low == -high
    return high


def test_grey_images_and_their_changes():
    """x_t - x = -σ² x and dx_t/dγ = -σ² α² x: amplified, on one scale for all images."""
    effects, drawn = figures((4, 4, 1))
    x, shown = effects.x[..., 0], places(effects, drawn["x_t"])
    sigma2 = 1 / (1 + np.exp(-effects.gamma[shown]))
    blue_to_red, grey = colormaps["RdBu_r"], colormaps["gray"]
    assert scale(drawn["x_t"]) == 1
    for name, factors in (("difference", sigma2), ("derivative", sigma2 * (1 - sigma2))):
        assert scale(drawn[name]) == pytest.approx(factors.max() * np.abs(x).max(), rel=1e-3)
    for row in range(3):
        np.testing.assert_allclose(cell(drawn["x_t"], row, 0), grey(0.5 + 0.5 * x[row])[..., :3])
        for column, sigma2_t in enumerate(sigma2):
            x_t = (1 - sigma2_t) * x[row]
            np.testing.assert_allclose(cell(drawn["x_t"], row, 1 + column), grey(0.5 + 0.5 * x_t)[..., :3], atol=0.01)
        for name, factors in (("difference", sigma2), ("derivative", sigma2 * (1 - sigma2))):
            for column, factor in enumerate(factors):
                amplified = blue_to_red(0.5 - 0.5 * factor * x[row] / scale(drawn[name]))[..., :3]
                np.testing.assert_allclose(cell(drawn[name], row, 1 + column), amplified, atol=0.02)


def test_added_amounts_are_red_and_removed_ones_blue():
    effects, drawn = figures((4, 4, 1))
    shown = places(effects, drawn["mean"])
    signed = np.stack([effects.added_map[shown], -effects.removed_map[shown]])[..., 0]
    assert scale(drawn["mean"]) == pytest.approx(np.abs(signed).max())
    for row in range(2):
        for column, values in enumerate(signed[row]):
            expected = colormaps["RdBu_r"](0.5 + 0.5 * values / np.abs(signed).max())[..., :3]
            np.testing.assert_allclose(cell(drawn["mean"], row, column), expected, atol=0.02)


def test_colour_images_are_drawn_in_colour():
    effects, drawn = figures((4, 4, 3))
    np.testing.assert_allclose(cell(drawn["x_t"], 1, 0), 0.5 + 0.5 * effects.x[1], atol=1e-6)
    changes = effects.x_t[:, -1] - effects.x
    amplified = 0.5 + 0.5 * changes[1] / np.abs(changes).max()  # the last column has the largest changes
    columns = len(places(effects, drawn["difference"]))
    np.testing.assert_allclose(cell(drawn["difference"], 1, columns), amplified, atol=1e-3)


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
        lines = [line for line in axes.lines if line.get_linestyle() != "--"]
        for line, name in zip(lines, names, strict=True):
            np.testing.assert_allclose(line.get_ydata(), [row[name] for row in rows])
            np.testing.assert_allclose(line.get_xdata(), effects.gamma)
    for axes in (change, slope):
        dashed, solid = (next(line for line in axes.lines if line.get_linestyle() == look) for look in ("--", "-"))
        np.testing.assert_allclose(dashed.get_ydata(), solid.get_ydata(), rtol=1e-3)


def test_from_column_to_column_images_change_equally():
    """x_t = α² x moves from x by σ² x, in all by 1 up to rounding; 41 γ are 0.08 of that apart or less."""
    effects, drawn = figures((4, 4, 1), gammas=41, count=2)
    shown = places(effects, drawn["x_t"])
    assert shown[-1] == 40
    moved = 1 / (1 + np.exp(-effects.gamma[shown]))
    np.testing.assert_allclose(moved, np.arange(1, len(shown) + 1) / len(shown), atol=0.05)


def test_an_encoder_that_moves_nothing_is_drawn_at_different_gammas():
    effects, _ = figures((4, 4, 1), gammas=41, count=2)
    still = effects._replace(derivative=0 * effects.derivative)
    shown = places(effects, draw_figures(still, tabulate(still), "arm on data")["x_t"])
    assert len(set(shown)) == len(shown) > 1
    assert shown[-1] == 40


def test_the_price_has_a_line_per_predictor():
    gamma = np.linspace(*GAMMA_ENDS, 4)
    rates = {name: np.outer([factor, 2 * factor], gamma**2) for name, factor in (("head", 1), ("linear", 2))}
    rows = tabulate_price(gamma, rates, dims=16)
    drawn = draw_price(rows, "arm on data")
    lines = {line.get_label(): line.get_ydata() for line in drawn.axes[0].lines}
    assert set(lines) == {"derivative head", "linear predictor"}
    np.testing.assert_allclose(lines["linear predictor"], 3 * gamma**2 / (16 * np.log(2)))
    assert_uncropped(drawn)


@pytest.mark.parametrize(("shape", "keep"), [((4, 4, 1), 3), ((4, 4, 3), 3), ((8, 8, 1), 8), ((1, 1, 2), 3)])
def test_nothing_is_cropped(shape, keep):
    for figure in figures(shape, gammas=8, count=8, keep=keep)[1].values():
        assert_uncropped(figure)

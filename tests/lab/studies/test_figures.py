"""Figures of all studies: an arm looks alike in each, axes show the data, and nothing is cropped."""

import numpy as np
import pytest

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.lab.figures.style import arm_style, figure_bytes
from diffenc_jax.lab.stats.calibration import reliability
from diffenc_jax.lab.studies.by_time.figure import Curve
from diffenc_jax.lab.studies.by_time.figure import draw_curves as draw_by_time
from diffenc_jax.lab.studies.classify.figure import draw_reliability
from diffenc_jax.lab.studies.depth.figure import draw_excess
from diffenc_jax.lab.studies.depth.table import CHOICES, studied
from diffenc_jax.lab.studies.rate_distortion.figure import draw_curve
from diffenc_jax.lab.studies.sample_quality.figure import draw_neighbours, draw_pairs
from diffenc_jax.lab.studies.sample_quality.neighbours import nearest
from diffenc_jax.lab.studies.significance.analysis import find
from diffenc_jax.lab.studies.significance.figure import draw_analysis, draw_curves, learning_panels
from diffenc_jax.lab.studies.significance.finished import find_runs
from tests import tiny
from tests.lab.report import made_up
from tests.lab.studies.cropping import assert_labels_apart, assert_uncropped
from tests.lab.studies.significance import made_up as runs

ARMS = ("vdm", "diffenc", "nontrainable")
PATH = "/a/long/path/to/a/workdir/with_$ymbols$/in/it/runs/digits-diffenc-seed0-lr1e-3"


def by_time(names=ARMS, label="{}: 1.823 ± 0.013 bits/dim"):
    curves = [Curve(label.format(name), name, made_up.by_time_rows()) for name in names]
    return draw_by_time(curves, "area of the diffusion loss ± standard error", "digits (test), step 1500")


def depth_rows(choices, depths):
    """Rows of a depth study whose excess falls as one over the depth."""
    return [
        {"choice": choice, "depth": depth, "excess": (1 + number) / depth, "excess_se": 0.1 / depth}
        for number, choice in enumerate(choices)
        for depth in depths
    ]


def analysed(root, seeds):
    found, missing = find_runs(runs.write_all(root, ARMS, seeds), None)
    return find(found, missing, {}, "vdm", 0.01).analysis


def training(names=ARMS):
    points = [(step, [3 + 100 / step, 3.1 + 100 / step]) for step in range(10, 500, 10)]
    panels = learning_panels("test")
    return draw_curves({name: dict.fromkeys(panels, points) for name in names}, panels, 2, common_axis=True)


def samples(arm):
    images, train = tiny.images(30), tiny.images(40, seed=1)
    return draw_neighbours(images, train, nearest(images, train), nearest(train[:20], train), tiny.LEVELS, arm)


def rate_rows(end):
    """Rows of rate and distortion over four steps, the last two of whose images are exact."""
    rows = []
    for number, rmse in enumerate([70.0, 30.0, 9.0, 2.0, 0.0, 0.0]):
        row = {"rate": 0.5 * number, "rate_se": 0.02, f"rmse{end}": rmse, f"rmse{end}_se": rmse / 20}
        psnr = (48.13 - 20 * np.log10(rmse), 0.4) if rmse else (None, None)
        rows.append(row | dict(zip((f"psnr{end}", f"psnr{end}_se"), psnr, strict=True)))
    return rows


def curve(arm="vdm", title="vdm on digits (test), step 1500", end=""):
    return draw_curve(rate_rows(end), arm, title, LossConfig(50, "linear", "optimal_estimate", "optimal"))


def colours(figure):
    return {line.get_color() for axes in figure.axes for line in axes.lines}


def test_an_arm_looks_alike_in_all_figures_whatever_stands_beside_it(tmp_path):
    drawn = draw_analysis(analysed(tmp_path, range(3)), "digits, test")
    for name in ARMS:
        look = arm_style(name)
        for figure in (by_time([name, "mine"]), by_time(["mine", name]), training(["mine", name])):
            lines = [line for axes in figure.axes for line in axes.lines if line.get_label().startswith(name)]
            assert lines
            for line in lines:
                assert (line.get_color(), line.get_marker()) == (look["color"], look["marker"])
        for figure in drawn.values() if name != "vdm" else [drawn["values"]]:
            assert (look["color"], look["marker"]) in {(x.get_color(), x.get_marker()) for x in figure.axes[0].lines}
        for axes in curve(name).axes:
            assert {(x.get_color(), x.get_marker()) for x in axes.lines} == {(look["color"], look["marker"])}
        assert {patch.get_edgecolor()[:3] for patch in samples(name).axes[0].patches} > {colour(look["color"])}


def colour(text):
    return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_seeds_of_an_arm_share_its_colour_and_differ_in_their_lines():
    lines = by_time(["vdm", "vdm", "diffenc"]).axes[0].lines
    first, second, other = ((line.get_color(), line.get_linestyle()) for line in lines)
    assert first[0] == second[0] != other[0]
    assert first[1] != second[1]


def test_training_is_drawn_before_the_first_evaluation():
    panels = learning_panels("test")
    curves = {"vdm": {kind: [] for kind in panels} | {"training": [(10, [3.0]), (20, [2.5])]}}
    (training,) = draw_curves(curves, panels, 2, common_axis=True).axes
    assert training.lines[0].get_xydata().tolist() == [[10, 3.0], [20, 2.5]]
    figure_bytes(training.figure, "png")
    assert "no EMA" in training.get_title()


@pytest.mark.parametrize(("seconds", "unit", "shown"), [(90, "seconds", 90), (180, "minutes", 3), (9000, "hours", 2.5)])
def test_time_is_in_the_unit_that_the_training_takes(seconds, unit, shown):
    panels = learning_panels("test")
    curves = {"vdm": {kind: [] for kind in panels} | {"training by time": [(seconds / 2, [3.0]), (seconds, [2.5])]}}
    (axes,) = draw_curves(curves, panels, 2, common_axis=True).axes
    assert axes.get_xlabel() == f"{unit} of training"
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[shown / 2, 3.0], [shown, 2.5]])


def test_few_seeds_have_no_intervals_and_no_bands(tmp_path):
    """A t interval of two seeds is ± 12.7 standard errors. From three on, it stands at the tick of its arm."""
    for seeds in (1, 2, 3):
        analysis = analysed(tmp_path / str(seeds), range(seeds))
        drawn = draw_analysis(analysis, "digits, test")
        (axes,) = drawn["values"].axes
        values = [value for arm in analysis["arms"].values() for value in arm["bpd"].values()]
        low, high = axes.get_ylim()
        assert low < min(values) <= max(values) < high
        bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 1.6]
        assert [list(bar) for bar in bars] == [[i, i] for i in range(len(ARMS))] * (seeds > 2)
        means = [line.get_xydata()[0] for line in axes.lines if line.get_markersize() == 7]
        expected = [arm["mean"] for arm in analysis["arms"].values()]
        np.testing.assert_allclose(means, list(enumerate(expected)))
        assert ("differences" in drawn) == (seeds > 2)
        points = [(step, [3 + 100 / step] * seeds) for step in range(10, 500, 10)]
        panels = learning_panels("test")
        curves = draw_curves({"vdm": dict.fromkeys(panels, points)}, panels, 2, common_axis=True)
        assert [len(axes.collections) for axes in curves.axes] == [seeds > 2] * 4


@pytest.mark.parametrize("scale", [1.0, -0.01])
def test_the_depth_studys_excess_lies_within_the_axes_with_its_errors_as_bars(scale):
    rows = [row | {"excess": scale * row["excess"]} for row in made_up.depth_rows()]
    (axes,) = draw_excess(rows, "diffenc on digits (test), step 1500").axes
    low, high = axes.get_ylim()
    for number, choice in enumerate(studied(False)):
        line, _, (bars,) = axes.containers[number].lines
        expected = [(row["depth"], row["excess"], row["excess_se"]) for row in rows if row["choice"] == choice]
        np.testing.assert_allclose(line.get_xydata(), [row[:2] for row in expected])
        ends = [[excess - 2 * error, excess + 2 * error] for _, excess, error in expected]
        np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], ends)
        assert np.all((low < line.get_ydata()) & (line.get_ydata() < high))


@pytest.mark.parametrize("end", ["", "_x_t"])
def test_rate_and_distortion_lie_within_the_axes_with_their_errors_as_bands(end):
    rmse, psnr = curve(end=end).axes
    rows = rate_rows(end)
    np.testing.assert_allclose(rmse.lines[0].get_xydata(), [(row["rate"], row[f"rmse{end}"]) for row in rows])
    assert np.isfinite(psnr.lines[0].get_ydata()).tolist() == [True] * 4 + [False] * 2
    for axes, quantity in ((rmse, "rmse"), (psnr, "psnr")):
        upward, along = (next(path.vertices for path in band.get_paths()) for band in axes.collections)
        row = rows[0]
        value, error = row[f"{quantity}{end}"], row[f"{quantity}{end}_se"]
        np.testing.assert_allclose(np.ptp(upward[upward[:, 0] == 0.0, 1]), 4 * error)
        np.testing.assert_allclose(np.ptp(along[along[:, 1] == value, 0]), 4 * row["rate_se"])
        low, high = axes.get_ylim()
        assert low < upward[:, 1].min() < upward[:, 1].max() < high


def test_an_unknown_error_has_no_bar():
    rows = [row | {"excess_se": None} for row in made_up.depth_rows()]
    figure_bytes(draw_excess(rows, "diffenc on digits (test), step 1500"), "png")


def reliability_rows():
    """Accuracy by confidence of confident and of unsure images, among them a bin of one image."""
    probabilities = np.linspace(0.5, 1.0, 40)[:, None] * [1, -1] + [0, 1]
    labels = (np.arange(40) % 7 == 0).astype(int)
    return [one._asdict() for one in reliability(probabilities[:33], labels[:33])]


def test_accuracies_are_drawn_with_their_intervals():
    above, below = draw_reliability(reliability_rows(), "vdm on digits (test), step 1500").axes
    filled = [row for row in reliability_rows() if row["images"]]
    points, _, (bars,) = above.containers[0].lines
    np.testing.assert_allclose(points.get_xydata(), [(row["confidence"], row["accuracy"]) for row in filled])
    for segment, row in zip(bars.get_segments(), filled, strict=True):
        np.testing.assert_allclose(segment[:, 1], [row["accuracy_low"], row["accuracy_high"]], atol=1e-12)
    assert [patch.get_height() for patch in below.patches] == [row["images"] for row in reliability_rows()]


def test_nothing_is_cropped(tmp_path):
    for figure in (
        by_time(label=PATH),
        draw_excess(made_up.depth_rows(), PATH),
        curve(PATH, PATH, "_x_t"),
        training([PATH, "diffenc", "a-rather-long-name-of-an-arm", *(f"arm {i}" for i in range(6))]),
        samples(PATH),
        draw_reliability(reliability_rows(), PATH),
        *draw_analysis(analysed(tmp_path, range(2)), PATH).values(),
        draw_excess(depth_rows(list(CHOICES), (5, 1000)), PATH),
    ):
        assert_uncropped(figure)


def test_labels_do_not_overlap(tmp_path):
    names = [f"{PATH}{number}" for number in range(3)]
    analysis = analysed(tmp_path, range(1))
    renamed = {name: analysis["arms"][arm] for name, arm in zip(names, ARMS, strict=True)}
    differences = [c | {"arm": name} for c, name in zip(analysis["comparisons"], names, strict=False)]
    for figure in (
        by_time(),
        draw_excess(depth_rows(["1"], (5, 6, 7, 8, 9, 10, 250, 1000)), PATH),
        *draw_analysis(analysis, PATH).values(),
        *draw_analysis(analysis | {"arms": renamed, "comparisons": differences}, PATH).values(),
    ):
        assert_labels_apart(figure)


def test_bands_of_the_loss_by_time_lie_within_the_axes():
    for axes in by_time().axes:
        top = max(path.vertices[:, 1].max() for band in axes.collections for path in band.get_paths())
        assert top < axes.get_ylim()[1]


def test_one_sample_is_no_larger_than_one_of_many():
    images = tiny.images(30)
    one, many = (draw_pairs(images[:n], images[:n], tiny.LEVELS) for n in (1, 12))
    assert one.shape == many.shape

"""Figures of all studies: an arm looks alike in each, axes show the data, and nothing is cropped."""

from dataclasses import replace

import numpy as np
import pytest

from diffenc_jax.lab.figures.style import arm_style, figure_bytes
from diffenc_jax.lab.studies.significance.analysis import find
from diffenc_jax.lab.studies.significance.figure import draw_analysis, draw_curves, learning_panels
from diffenc_jax.lab.studies.significance.finished import find_runs
from tests.lab.studies.cropping import assert_labels_apart, assert_uncropped
from tests.lab.studies.significance import made_up as runs

ARMS = ("vdm", "diffenc", "nontrainable")
PATH = "/a/long/path/to/a/workdir/with_$ymbols$/in/it/runs/digits-diffenc-seed0-lr1e-3"


def analysed(root, seeds):
    found, missing = find_runs(runs.write_all(root, ARMS, seeds), None)
    return find(found, missing, {}, "vdm", 0.01).analysis


def training(names=ARMS):
    points = [(step, [3 + 100 / step, 3.1 + 100 / step]) for step in range(10, 500, 10)]
    panels = learning_panels("test")
    return draw_curves({name: dict.fromkeys(panels, points) for name in names}, panels, 2, common_axis=True)


def test_an_arm_looks_alike_in_all_figures_whatever_stands_beside_it(tmp_path):
    drawn = draw_analysis(analysed(tmp_path, range(3)), "digits, test")
    for name in ARMS:
        look = arm_style(name)
        for figure in (training([name, "mine"]), training(["mine", name])):
            lines = [line for axes in figure.axes for line in axes.lines if line.get_label().startswith(name)]
            assert lines
            for line in lines:
                assert (line.get_color(), line.get_marker()) == (look["color"], look["marker"])
        for figure in drawn.values() if name != "vdm" else [drawn["values"]]:
            assert (look["color"], look["marker"]) in {(x.get_color(), x.get_marker()) for x in figure.axes[0].lines}


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
        values = [value for arm in analysis.arms.values() for value in arm.bpd.values()]
        low, high = axes.get_ylim()
        assert low < min(values) <= max(values) < high
        bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 1.6]
        assert [list(bar) for bar in bars] == [[i, i] for i in range(len(ARMS))] * (seeds > 2)
        means = [line.get_xydata()[0] for line in axes.lines if line.get_markersize() == 7]
        expected = [arm.mean for arm in analysis.arms.values()]
        np.testing.assert_allclose(means, list(enumerate(expected)))
        assert ("differences" in drawn) == (seeds > 2)
        points = [(step, [3 + 100 / step] * seeds) for step in range(10, 500, 10)]
        panels = learning_panels("test")
        curves = draw_curves({"vdm": dict.fromkeys(panels, points)}, panels, 2, common_axis=True)
        assert [len(axes.collections) for axes in curves.axes] == [seeds > 2] * 4


def test_nothing_is_cropped(tmp_path):
    for figure in (
        training([PATH, "diffenc", "a-rather-long-name-of-an-arm", *(f"arm {i}" for i in range(6))]),
        *draw_analysis(analysed(tmp_path, range(2)), PATH).values(),
    ):
        assert_uncropped(figure)


def test_labels_do_not_overlap(tmp_path):
    names = [f"{PATH}{number}" for number in range(3)]
    analysis = analysed(tmp_path, range(1))
    renamed = {name: analysis.arms[arm] for name, arm in zip(names, ARMS, strict=True)}
    differences = [replace(c, arm=name) for c, name in zip(analysis.comparisons, names, strict=False)]
    for figure in (
        *draw_analysis(analysis, PATH).values(),
        *draw_analysis(replace(analysis, arms=renamed, comparisons=differences), PATH).values(),
    ):
        assert_labels_apart(figure)

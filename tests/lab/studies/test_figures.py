"""Figures of significance: an arm looks alike in each, axes show the data, and nothing is cropped."""

from dataclasses import replace

import numpy as np

from diffenc_jax.lab.comparisons.significance.figure import draw_analysis, draw_curves, learning_panels
from diffenc_jax.lab.figures.style import arm_style
from tests.lab.comparisons.significance import made_up
from tests.lab.studies.cropping import assert_uncropped

ARMS = ("vdm", "diffenc", "nontrainable")
PATH = "/a/long/path/to/a/workdir/with_$ymbols$/in/it/runs/digits-diffenc-seed0-lr1e-3"
PANELS = learning_panels("test")


def training(names, seeds=2):
    points = [(step, [3 + 100 / step + 0.1 * seed for seed in range(seeds)]) for step in range(10, 500, 10)]
    return draw_curves({name: dict.fromkeys(PANELS, points) for name in names}, PANELS, common_axis=True)


def test_an_arm_looks_alike_in_all_figures_and_few_seeds_have_no_intervals():
    """A t interval of two seeds is ± 12.7 standard errors. From three on, it stands at the tick of its arm."""
    for seeds in (1, 3):
        analysis = made_up.analysed(**dict.fromkeys(ARMS, range(seeds)))
        axes, *differences = draw_analysis(analysis, "digits, test").axes
        values = [value for arm in analysis.arms.values() for value in arm.bpd.values()]
        low, high = axes.get_xlim()
        assert low < min(values) <= max(values) < high
        bars = [list(line.get_ydata()) for line in axes.lines if line.get_linewidth() == 1.6]
        assert bars == [[i, i] for i in range(len(ARMS))] * (seeds > 2)
        means = [line.get_xydata()[0] for line in axes.lines if line.get_markersize() == 7]
        np.testing.assert_allclose(means, [(arm.mean, i) for i, arm in enumerate(analysis.arms.values())])
        assert len(differences) == (seeds > 2)
        assert [len(axes.collections) for axes in training(["vdm"], seeds).axes] == [seeds > 2] * 2
    for name in ARMS:
        look = arm_style(name)["color"], arm_style(name)["marker"]
        lines = [line for axes in training(["mine", name]).axes for line in axes.lines if line.get_label() == name]
        assert {(line.get_color(), line.get_marker()) for line in lines} == {look}
        for drawn in (axes, *differences) if name != "vdm" else [axes]:
            assert look in {(line.get_color(), line.get_marker()) for line in drawn.lines}


def test_nothing_is_cropped():
    assert_uncropped(training([PATH, "diffenc", "a-rather-long-name-of-an-arm", *(f"arm {i}" for i in range(6))]))
    analysis = made_up.analysed(**dict.fromkeys(ARMS, range(3)))
    names = {arm: f"{PATH}{number}" for number, arm in enumerate(ARMS)}
    arms = {names[arm]: values for arm, values in analysis.arms.items()}
    comparisons = [replace(comparison, arm=names[comparison.arm]) for comparison in analysis.comparisons]
    renamed = replace(analysis, reference=names["vdm"], arms=arms, comparisons=comparisons)
    assert_uncropped(draw_analysis(renamed, PATH))

"""Curves over seeds, and how much bits/dim still fell at the end."""

import numpy as np
import pytest

from diffenc_jax.lab.comparisons.significance.analysis import Fall, analyse, fall_of, learning_curves
from diffenc_jax.lab.comparisons.significance.figure import draw_analysis, draw_curves, learning_panels
from tests.lab.comparisons.significance import made_up


def test_curves_have_the_steps_that_all_seeds_have():
    whole = [{"step": 10, "bpd": 4.0}, {"step": 20, "bpd": 3.0}, {"step": 15, "test_total": 2.0}]
    curves = learning_curves({"vdm": [whole, [{"step": 20, "bpd": 6.0}, {"step": 15, "test_total": 3.0}]]}, "test")
    assert curves["vdm"] == {"training": [(20, [3.0, 6.0])], "evaluation": [(15, [2.0, 3.0])]}


def test_the_fall_is_that_since_the_last_evaluation_in_three_quarters():
    evaluations = [(500, [2.5, 2.7]), (1000, [2.0, 2.2]), (1500, [1.9, 2.0])]
    assert fall_of(evaluations) == Fall(pytest.approx(0.15), 1000)
    assert fall_of(evaluations[-1:]) is fall_of([]) is None


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("is_real", [False, True])
def test_bands_end_at_zero_unless_the_data_are_real_numbers(is_real):
    """Bits/dim of images cannot be negative; the interval of three seeds extends below zero."""
    points = [(step, [0.01, 0.02, 0.9]) for step in (10, 20)]
    kinds = dict.fromkeys(("training", "evaluation"), points)
    figure = draw_curves({"vdm": kinds}, learning_panels("test"), is_real=is_real)
    lows = [path.vertices[:, 1].min() for axes in figure.axes for band in axes.collections for path in band.get_paths()]
    expected = np.mean(points[0][1]) - 4.302653 * np.std(points[0][1], ddof=1) / np.sqrt(3)
    assert expected < 0
    assert lows == pytest.approx([expected if is_real else 0.0] * 2)
    analysis = analyse(made_up.finished(made_up.per_seed(vdm=points[0][1])), "vdm", 0.01)
    low, _ = draw_analysis(analysis, "digits", is_real).axes[0].get_xlim()
    assert (low < expected) if is_real else (low == 0)

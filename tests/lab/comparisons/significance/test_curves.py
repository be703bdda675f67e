"""Curves over seeds, and how much bits/dim still fell at the end."""

import pytest

from diffenc_jax.lab.comparisons.significance.curves import Fall, fall_of, learning_curves


def test_curves_have_the_steps_that_all_seeds_have():
    whole = [{"step": 10, "bpd": 4.0}, {"step": 20, "bpd": 3.0}, {"step": 15, "test_total": 2.0}]
    curves = learning_curves({"vdm": [whole, [{"step": 20, "bpd": 6.0}, {"step": 15, "test_total": 3.0}]]}, "test")
    assert curves["vdm"] == {"training": [(20, [3.0, 6.0])], "evaluation": [(15, [2.0, 3.0])]}


def test_the_fall_is_that_since_the_last_evaluation_in_three_quarters():
    evaluations = [(500, [2.5, 2.7]), (1000, [2.0, 2.2]), (1500, [1.9, 2.0])]
    assert fall_of(evaluations) == Fall(pytest.approx(0.15), 1000)
    assert fall_of(evaluations[-1:]) is fall_of([]) is None

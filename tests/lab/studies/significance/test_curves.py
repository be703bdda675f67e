"""Curves over seeds, against steps and time, and how much bits/dim still fall at the end."""

import pytest

from diffenc_jax.lab.studies.significance.curves import Fall, fall_of, learning_curves


def rows(pace, values, steps=(10, 20)):
    """Rows of metrics at two steps, and an evaluation between them."""
    logged = [{"step": s, "bpd": v, "images_per_second": pace} for s, v in zip(steps, values, strict=True)]
    return [*logged, {"step": 15, "test_total": values[0] / 2}]


def test_curves_by_time_are_against_the_mean_time_of_the_seeds():
    curves = learning_curves({"vdm": [rows(8.0, (4.0, 3.0)), rows(16.0, (6.0, 5.0))]}, {"vdm": 8}, "test")["vdm"]
    assert curves["training by time"] == [(7.5, [4.0, 6.0]), (15.0, [3.0, 5.0])]
    assert curves["evaluation by time"] == [(11.25, [2.0, 3.0])]


def test_curves_have_the_steps_that_all_seeds_have():
    other = [{key: row[key] for key in row if key != "images_per_second"} for row in rows(1.0, (6.0,), (20,))]
    curves = learning_curves({"vdm": [rows(8.0, (4.0, 3.0)), other]}, {"vdm": 8}, "test")["vdm"]
    assert curves["training"] == [(20, [3.0, 6.0])]
    assert curves["evaluation"] == [(15, [2.0, 3.0])]
    assert curves["training by time"] == curves["evaluation by time"] == []  # one logs no pace


def test_the_fall_is_that_of_evaluations_or_else_of_training_losses():
    evaluations = [(500, [2.5, 2.7]), (1000, [2.0, 2.2]), (1500, [1.9, 2.0])]
    losses = [(step, [3 - step / 1000]) for step in range(100, 1501, 100)]
    assert fall_of({"evaluation": evaluations, "training": losses}) == Fall(pytest.approx(0.15), 1000, True)
    late = fall_of({"evaluation": evaluations[-1:], "training": losses})
    assert late == Fall(pytest.approx(0.375, abs=0.05), 938, False)
    assert fall_of({"evaluation": [], "training": losses[-1:]}) is None
    assert fall_of({"evaluation": [], "training": []}) is None

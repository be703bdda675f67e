"""Finished runs, the state of the others, and runs that cannot be compared."""

import dataclasses
import json

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.studies.significance.finished import (
    find_runs,
    learning_curves,
    matching_record,
    read_costs,
)
from diffenc_jax.lab.studies.significance.grid import Grid, workdir_of
from diffenc_jax.runs.metrics import read_metrics
from diffenc_jax.runs.records import record_paths
from tests.lab.studies.significance import made_up

GRID = Grid("configs/digits.py", ("vdm", "diffenc"), (0, 1), (), made_up.PASSES, "vdm")


def matching(place, grid=GRID, arm="vdm"):
    """The record of seed 0 that counts as the final evaluation."""
    trained = grid.run_config(arm, 0)
    return matching_record(place, trained, grid.final_config(trained))


def found(root, grid=GRID):
    runs, missing = find_runs(root, grid)
    return [(run.arm, run.seed) for run in runs], {(run.arm, run.seed): run.why for run in missing}


def test_finished_and_missing(tmp_path):
    made_up.write(tmp_path, "vdm", 0)
    place = made_up.write(tmp_path, "diffenc", 0)
    made_up.record_file(place).unlink()
    (place / "checkpoints" / "750").mkdir(parents=True)
    place = made_up.write(tmp_path, "vdm", 1, made_up.values("vdm", 1, 8))
    (place / "checkpoints" / "1500").mkdir(parents=True)
    runs, missing = found(tmp_path)
    assert runs == [("vdm", 0)]
    assert missing == {
        ("diffenc", 0): "at step 750 of 1500",
        ("vdm", 1): "trained, but not evaluated like this",
        ("diffenc", 1): "not begun",
    }


def test_without_a_note_the_runs_that_are_there_make_the_grid(tmp_path):
    for arm, seed in (("vdm", 0), ("vdm", 4), ("diffenc", 4)):
        made_up.write(tmp_path, arm, seed)
    runs, missing = found(tmp_path, None)
    assert sorted(runs) == [("diffenc", 4), ("vdm", 0), ("vdm", 4)]
    assert missing == {("diffenc", 0): "not begun"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"config_hash": "0" * 12}, "another configuration"),
        ({"estimator": {"kind": "ode", "passes": 4, "seed": 0}}, "another estimator"),
        ({"estimator": {"kind": "continuous", "passes": 4, "seed": 7}}, "other noise"),
        ({"estimator": {"kind": "continuous", "passes": 4, "seed": 0, "time_sampling": "uniform"}}, "other times"),
        ({"estimator": None}, "none"),
    ],
)
def test_a_record_of_something_else_does_not_count(tmp_path, changes, why):
    place = made_up.write(tmp_path, "vdm", 0, **changes)
    assert matching(place) is None, why


def test_the_record_asked_for_counts(tmp_path):
    place = made_up.write(tmp_path, "vdm", 0)
    assert matching(place) == made_up.record_file(place)
    made_up.record_file(place).write_text("{")
    assert matching(place) is None


def test_a_final_evaluation_with_another_loss_counts_for_the_run(tmp_path):
    """The run is that of its training; records with its own loss do not count, and the other way round."""
    final = ("loss.variance_ratio=optimal_pixel",)
    fitted = dataclasses.replace(GRID, arms=("vdm-T10",), reference="vdm-T10", final=final)
    place = made_up.write(tmp_path, "vdm-T10", 0)
    assert matching(place, fitted, "vdm-T10") is None
    made_up.write(tmp_path, "vdm-T10", 0, final=final)
    path = matching(place, fitted, "vdm-T10")
    assert "optimal_pixel" in path.name
    own = dataclasses.replace(fitted, final=())
    assert matching(place, own, "vdm-T10") not in (None, path)


@pytest.mark.parametrize(
    ("changes", "count"),
    [((), True), (("fit.images=64",), True), (("fit.images=32",), False), (("fit.seed=1",), False)],
)
def test_a_fit_counts_if_it_is_the_one_asked_for(tmp_path, changes, count):
    final = ("loss.variance_ratio=optimal", *changes)
    fitted = dataclasses.replace(GRID, arms=("vdm-T10",), reference="vdm-T10", final=final)
    place = made_up.write(tmp_path, "vdm-T10", 0, final=final)
    record = json.loads(made_up.record_file(place).read_text())
    record["estimator"]["fit"] = {"split": "train", "sha256": "0", "images": 64, "grid": 480, "seed": 0}
    made_up.record_file(place).write_text(json.dumps(record))
    assert (matching(place, fitted, "vdm-T10") is not None) == count


def test_arms_of_several_depths_are_compared(tmp_path):
    arms = ("vdm-T10", "diffenc-T10", "diffenc-T50")
    for arm in arms:
        made_up.write(tmp_path, arm, 0)
    runs, missing = find_runs(tmp_path, dataclasses.replace(GRID, arms=arms, seeds=(0,), reference="vdm-T10"))
    assert [run.arm for run in runs] == list(arms)
    assert not missing


def test_a_run_whose_values_are_no_numbers_is_not_averaged(tmp_path):
    made_up.write(tmp_path, "vdm", 0)
    made_up.write(tmp_path, "vdm", 1, np.full((made_up.PASSES, 40), np.nan))
    runs, missing = found(tmp_path, None)
    assert runs == [("vdm", 0)]
    assert "are not finite" in missing["vdm", 1]


def test_other_images_are_refused(tmp_path):
    made_up.write(tmp_path, "vdm", 0)
    made_up.write(tmp_path, "diffenc", 0, np.ones((made_up.PASSES, 30)))
    with pytest.raises(InputError, match="have different images"):
        find_runs(tmp_path, GRID)


@pytest.mark.parametrize("grid", [GRID, None])
def test_other_augmentation_is_refused_unless_asked_for(tmp_path, grid):
    made_up.write(tmp_path, "vdm", 0)
    made_up.write(tmp_path, "diffenc", 0, augmentation="flip")
    with pytest.raises(InputError, match=r"differ in the augmentation of their training images, .*none"):
        find_runs(tmp_path, grid)
    runs, _ = find_runs(tmp_path, grid, across_augmentation=True)
    if grid is not None:
        runs, _ = find_runs(tmp_path, dataclasses.replace(grid, across_augmentation=True))
    assert {run.arm for run in runs} == {"vdm", "diffenc"}


def test_runs_of_one_arm_differ_in_their_seeds_alone(tmp_path):
    made_up.write(tmp_path, "vdm", 0)
    made_up.write(tmp_path, "vdm", 1, overrides=("train.learning_rate=0.1", "train.steps=1000"))
    with pytest.raises(InputError, match=r"have the same arm and differ in train.learning_rate, train.steps"):
        find_runs(tmp_path, None)


def test_the_same_run_twice_is_refused(tmp_path):
    made_up.write(tmp_path, "vdm", 0)
    made_up.write(tmp_path, "vdm", 0, place=tmp_path / "copy")
    with pytest.raises(InputError, match="hold the same arm and seed; move one"):
        find_runs(tmp_path, None)


def test_without_a_note_the_way_that_most_runs_are_evaluated_counts(tmp_path):
    """Four passes, although one run has eight besides and another has eight alone, or another seed of the noise."""
    for seed in range(3):
        for arm in ("vdm", "diffenc"):
            made_up.write(tmp_path, arm, seed)
    place = made_up.write(tmp_path, "vdm", 0, made_up.values("vdm", 0, 8))
    other = made_up.write(tmp_path, "vdm", 3, made_up.values("vdm", 3, 8))
    estimator = {"kind": "continuous", "depth": None, "variance_ratio": 1.0, "passes": 4, "replicates": 2, "seed": 0}
    made_up.write(tmp_path, "diffenc", 3, estimator=estimator | {"time_sampling": "importance"})
    assert len(record_paths(place)) == 2
    for path in (place, other):
        (path / "checkpoints" / "1500").mkdir(parents=True)
    runs, missing = find_runs(tmp_path, None)
    assert {(run.arm, run.seed) for run in runs} == {(arm, seed) for arm in ("vdm", "diffenc") for seed in range(3)}
    assert {len(run.evaluation.bits) for run in runs} == {4}
    assert {(run.arm, run.seed): run.why for run in missing}["vdm", 3] == "trained, but not evaluated like this"


def test_of_ways_that_as_many_runs_have_the_one_with_most_passes_counts(tmp_path):
    for arm in ("vdm", "diffenc"):
        for passes in (2, 8, 4):
            made_up.write(tmp_path, arm, 0, made_up.values(arm, 0, passes))
    assert {len(run.evaluation.bits) for run in find_runs(tmp_path, None)[0]} == {8}


def test_an_empty_root(tmp_path):
    with pytest.raises(InputError, match="holds no runs"):
        find_runs(tmp_path, None)


def test_curves_have_the_steps_that_all_seeds_have(tmp_path):
    made_up.write_all(tmp_path, ("vdm",), (0, 1))
    path = workdir_of(tmp_path, "vdm", 1) / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], *lines[-1:], '{"step": 15']))  # steps 50, 100, 150, and an evaluation
    rows = [read_metrics(workdir_of(tmp_path, "vdm", seed)) for seed in (0, 1)]
    found = learning_curves({"vdm": rows}, {"vdm": 64}, "test")["vdm"]
    means = [made_up.values("vdm", seed).mean() for seed in (0, 1)]
    assert [step for step, _ in found["training"]] == [50, 100, 150]
    assert found["training"][1][1] == pytest.approx([mean + 1 for mean in means])
    assert found["evaluation"] == [(1500, pytest.approx([mean + 50 / 1500 for mean in means]))]
    assert found["training by time"] == found["evaluation by time"] == []  # no pace is logged


def test_curves_by_time_are_against_the_mean_time_of_the_seeds():
    def run(pace, values):
        rows = [
            {"step": step, "bpd": value, "images_per_second": pace}
            for step, value in zip((10, 20), values, strict=True)
        ]
        return [*rows, {"step": 15, "test_total": values[0] / 2}]

    curves = learning_curves({"vdm": [run(8.0, (4.0, 3.0)), run(16.0, (6.0, 5.0))]}, {"vdm": 8}, "test")["vdm"]
    assert curves["training by time"] == [(7.5, [4.0, 6.0]), (15.0, [3.0, 5.0])]
    assert curves["evaluation by time"] == [(11.25, [2.0, 3.0])]


def test_costs_that_are_there(tmp_path):
    (tmp_path / "costs").mkdir()
    (tmp_path / "costs" / "vdm.json").write_text(json.dumps(made_up.COST))
    (tmp_path / "costs" / "diffenc.json").write_text("{")
    assert read_costs(tmp_path, ["vdm", "diffenc", "nontrainable"]) == {"vdm": made_up.COST}


@pytest.mark.parametrize("value", [None, "x", [1.0], {}, True, float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("key", ["flops_per_step", "seconds_per_step", "memory_per_step", "device"])
def test_costs_of_another_kind_are_none(tmp_path, key, value):
    (tmp_path / "costs").mkdir()
    if key == "device" and value == "x":
        value = 3
    (tmp_path / "costs" / "vdm.json").write_text(json.dumps(made_up.COST | {key: value}))
    assert read_costs(tmp_path, ["vdm"]) == {}

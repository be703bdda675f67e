"""Finished runs, the state of the others, and runs that cannot be compared."""

import dataclasses
import json

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.comparisons.significance.finished import final_record, find_runs, read_costs
from diffenc_jax.lab.comparisons.significance.grid import Grid
from tests import stored_runs
from tests.lab.comparisons.significance import made_up

GRID = Grid("configs/digits.py", ("vdm", "diffenc"), (0, 1), (), made_up.PASSES, "vdm")
DEEP = dataclasses.replace(GRID, arms=("vdm-T10",), reference="vdm-T10")


def matching(place, grid):
    """The record of the reference's seed 0 that counts as the final evaluation."""
    found = final_record(grid, place, grid.run_config(grid.reference, 0))
    return found and found[0]


def test_finished_and_missing(tmp_path):
    made_up.write(tmp_path, "vdm", 0)
    place = made_up.write(tmp_path, "diffenc", 0)
    made_up.record_file(place).unlink()
    (place / "checkpoints" / "750").mkdir(parents=True)
    place = made_up.write(tmp_path, "vdm", 1, made_up.values("vdm", 1, 8))
    (place / "checkpoints" / "1500").mkdir(parents=True)
    runs, missing = find_runs(tmp_path, GRID)
    assert [(run.arm, run.seed) for run in runs] == [("vdm", 0)]
    assert sorted(map(str, missing)) == [
        "diffenc, seed 0: at step 750 of 1500",
        "diffenc, seed 1: not begun",
        "vdm, seed 1: trained, but not evaluated like this",
    ]


FIT = {"fit": {"split": "train", "sha256": "0", "images": 64, "grid": 480, "seed": 0}}
RECORDS = [
    ({}, "fit.grid=480", True),
    *(({key: value}, "fit.grid=480", False) for key, value in (("kind", "ode"), ("seed", 7), ("depth", 50))),
    (FIT, "fit.images=64", True),
    (FIT, "fit.grid=480", True),  # all images, which are fewer than it would take
    (FIT, "fit.images=32", False),
    (FIT, "fit.seed=1", False),
]


@pytest.mark.parametrize(("entries", "change", "count"), RECORDS)
def test_a_record_counts_if_its_estimator_is_the_one_asked_for(tmp_path, entries, change, count):
    final = ("loss.variance_ratio=optimal",)
    file = made_up.record_file(place := made_up.write(tmp_path, "vdm-T10", 0, final=final))
    stored_runs.change(file, estimator=json.loads(file.read_text())["estimator"] | entries)
    assert matching(place, dataclasses.replace(DEEP, final=(*final, change))) == (file if count else None)


def test_a_record_of_another_run_and_a_damaged_one_do_not_count(tmp_path):
    place = made_up.write(tmp_path, "vdm", 0)
    file = made_up.record_file(place)
    record = json.loads(file.read_text())
    for other in (record | {"config_hash": "0" * 12}, record | {"estimator": None}, "{"):
        file.write_text(json.dumps(other))
        assert matching(place, GRID) is None


def test_a_final_evaluation_with_another_loss_counts_for_the_run(tmp_path):
    """The run is that of its training; records with its own loss do not count, and the other way round."""
    for final in ((), ("loss.variance_ratio=optimal_pixel",)):
        grid = dataclasses.replace(DEEP, final=final)
        assert matching(tmp_path / "vdm-T10-seed0", grid) is None
        made_up.write(tmp_path, "vdm-T10", 0, final=final)
        assert ("optimal_pixel" in matching(tmp_path / "vdm-T10-seed0", grid).name) == bool(final)


def test_without_a_note_the_way_that_most_runs_are_evaluated_counts(tmp_path):
    """Four passes, although one run has eight besides and others only eight, or values of no number."""
    made_up.write_all(tmp_path, GRID.arms, GRID.seeds)
    made_up.write(tmp_path, "vdm", 0, made_up.values("vdm", 0, 8))
    made_up.write(tmp_path, "vdm", 3, made_up.values("vdm", 3, 8))
    made_up.write(tmp_path, "diffenc", 3, np.full((made_up.PASSES, 40), np.nan))
    runs, missing = find_runs(tmp_path, None)
    assert sorted((run.arm, run.seed) for run in runs) == [("diffenc", 0), ("diffenc", 1), ("vdm", 0), ("vdm", 1)]
    assert {len(run.evaluation.bits) for run in runs} == {4}
    assert "are not finite" in {run.arm: run.why for run in missing}["diffenc"]
    for passes in (2, 8):  # of ways that as many runs have, that with most passes counts
        made_up.write(tmp_path / "two", "vdm", 0, made_up.values("vdm", 0, passes))
    assert [len(run.evaluation.bits) for run in find_runs(tmp_path / "two", None)[0]] == [8]


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    made_up.write(tmp_path / "a", "vdm", 0)
    made_up.write(tmp_path / "a", "vdm", 1, overrides=("train.learning_rate=0.1", "train.steps=1000"))
    with pytest.raises(InputError, match=r"have the same arm and differ in train.learning_rate, train.steps"):
        find_runs(tmp_path / "a", None)
    made_up.write(tmp_path / "b", "vdm", 0)
    made_up.write(tmp_path / "b", "vdm", 0, place=tmp_path / "b" / "copy")
    with pytest.raises(InputError, match="hold the same arm and seed; move one"):
        find_runs(tmp_path / "b", None)
    made_up.write(tmp_path / "c", "vdm", 0)
    made_up.write(tmp_path / "c", "diffenc", 0, np.ones((made_up.PASSES, 30)))
    with pytest.raises(InputError, match="have different images"):
        find_runs(tmp_path / "c", GRID)


def test_costs_that_cannot_be_read_are_none(tmp_path):
    (tmp_path / "costs").mkdir()
    (tmp_path / "costs" / "diffenc.json").write_text("{")
    (tmp_path / "costs" / "vdm.json").write_text(json.dumps(made_up.COST))
    assert read_costs(tmp_path, ["vdm", "diffenc", "nontrainable"]) == {"vdm": made_up.COST}

"""A grid: its commands, refusals before anything runs, finished runs, and runs that cannot be compared."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.comparisons.significance.finished import final_record, find_runs, read_costs
from diffenc_jax.lab.comparisons.significance.grid import FILE, OTHER_FILE, Grid, read_grid
from tests import stored_runs
from tests.lab.comparisons.significance import made_up


def make(**changes):
    """vdm and diffenc over seeds 0 and 1 of the digits."""
    given = dict(config="configs/digits.py", arms=("vdm", "diffenc"), seeds=(0, 1), overrides=(), passes=None)
    return Grid(**{**given, "reference": "vdm", **changes})


def test_a_plan_has_a_line_per_run_and_one_per_arm(tmp_path):
    """What a shell would take apart is quoted."""
    root, run = tmp_path / "my runs", "--config=configs/digits.py:{0} --config.seed={1} --config.eval.seed={1}"
    train = f"python -m diffenc_jax.main {run} --config.train.steps=20 '--workdir={root}/{{0}}-seed{{1}}'"
    costs = f"python -m diffenc_jax costs {run} --config.train.steps=20 '--json={root}/costs/{{0}}.json'"
    runs = [("vdm", 0), ("diffenc", 0), ("vdm", 1), ("diffenc", 1)]
    grid = make(overrides=("train.steps=20",))
    assert grid.plan(root) == [*(train.format(*one) for one in runs), *(costs.format(*one) for one in runs[:2])]
    evaluated = dataclasses.replace(grid, passes=64, final=("eval.split=train",))
    final = f"{train} && {train} --mode=eval --config.eval.passes=64 --config.eval.split=train"
    assert evaluated.plan(root)[:4] == [final.format(*one) for one in runs]


LEARNED = ("loss.depth=10", "loss.variance_ratio=learned", "sample.depth=10")


REFUSED = [
    ({"config": "configs/digits.py:vdm"}, "names an arm; give arms by --arms"),
    ({"reference": "nontrainable"}, "--reference=nontrainable is not among vdm, diffenc"),
    ({"arms": ("vdm", "vdn")}, "unknown arm 'vdn'; known: diffenc, nontrainable, vdm"),
    ({"overrides": ("train.steps=some",)}, "train.steps must be a whole number, not "),
    ({"overrides": ("model.encoder.width=8",)}, "distinguishes the arms (vdm has none, diffenc 16)"),
    ({"overrides": ("eval.seed=3",)}, "--config.eval.seed is set by the study; give --seeds"),
    ({"final": ("eval.passes=3",)}, "--final=eval.passes is set by the study; give --passes"),
    ({"final": ("train.steps=3",)}, "--final=train.steps is no key of eval, fit, loss, ode"),
    ({"final": ("loss.depht=3",)}, "unknown configuration key 'loss.depht'"),
    ({"final": ("loss.times=optimal",)}, "loss.times=optimal needs a finite loss.depth"),
    ({"overrides": LEARNED, "final": ("loss.variance_ratio=1",)}, "--final changes the loss of vdm where loss."),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_grids_that_cannot_be_trained_are_refused_and_leave_nothing(tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        make(**changes).check_runs(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


OF_ARM = """
from diffenc_jax.config.recipe import with_changes
from tests import tiny

def get_config(arm):
    return with_changes(tiny.config_dict("vdm"), {"arm": arm, "data.source": f"{FOLDER}/{arm}.npz"})
"""


def test_arms_have_the_same_images_or_nothing_is_trained(tmp_path):
    """The images count, not the files that they are read from."""
    for arm, seed in (("one", 1), ("copy", 1), ("other", 2)):
        stored_runs.write_images(tmp_path / f"{arm}.npz", seed=seed)
    config = tmp_path / "own.py"
    config.write_text(f"FOLDER = {str(tmp_path)!r}\n{OF_ARM}")
    make(config=str(config), arms=("one", "copy"), reference="one").check_runs(tmp_path / "root")
    with pytest.raises(InputError, match=r"^--arms=one,other: they have different images, "):
        make(config=str(config), arms=("one", "other"), reference="one").check_runs(tmp_path / "root")


def test_a_workdir_of_another_configuration_is_refused(tmp_path):
    made_up.write(tmp_path, "diffenc", 1, overrides=("train.learning_rate=0.1",))
    with pytest.raises(InputError, match=r"diffenc-seed1 holds a run of another configuration: train.learning_rate"):
        make().check_runs(tmp_path)


def test_what_is_noted_is_read_and_added_to_unless_it_is_another_experiment(tmp_path):
    make().note_in(tmp_path)
    (tmp_path / FILE).rename(tmp_path / OTHER_FILE)  # which is read as well
    assert read_grid(tmp_path) == make()
    final = ("eval.split=train",)
    make(arms=("nontrainable", "vdm"), seeds=(3, 1), passes=8, reference="vdm", final=final).note_in(tmp_path)
    every = make(arms=("vdm", "diffenc", "nontrainable"), seeds=(0, 1, 3), passes=8, final=final)
    assert read_grid(tmp_path) == every
    for changes, reason in (
        ({"overrides": ("train.steps=3",)}, "its overrides: none, not "),
        ({"config": "configs/mnist.py"}, "its config: configs/digits.py, not configs/mnist.py"),
    ):
        with pytest.raises(InputError, match=f"another experiment, {reason}"):
            make(**changes).note_in(tmp_path)
    assert read_grid(tmp_path) == every
    with pytest.raises(InputError, match=r"cannot be written to: .*; give another --root"):
        make().note_in(tmp_path / FILE)


def test_a_damaged_note_is_named_or_harmless(tmp_path):
    make().note_in(tmp_path)
    noted = json.loads((tmp_path / FILE).read_text())
    values = (3, "vdm", [[1]], {"a": 1}, [-1], [2**40], [True, None], "\x1b[2J", ["\n"], 0.5)
    for damaged in ("{", "[]", '{"arms": ["vdm"]}', *(json.dumps(noted | {k: v}) for k in noted for v in values)):
        (tmp_path / FILE).write_text(damaged)
        with contextlib.suppress(InputError):
            grid = read_grid(tmp_path)
            assert all(line.isprintable() for line in grid.plan(tmp_path))
            assert len(list(grid.runs())) == len(grid.arms) * len(grid.seeds)


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

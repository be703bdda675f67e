"""A workdir belongs to one configuration, and to one training process at a time."""

import re

import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.runs import workdir
from diffenc_jax.runs.stored import StoredRun, runs_in
from tests import tiny

CONFIG = tiny.config("vdm")


def changed(**changes):
    return tiny.config("vdm", **changes)


SUFFIXES = [
    ({"train__steps": 99, "eval__passes": 3}, ""),
    ({"train__learning_rate": 0.25, "loss__depth": 50}, "-depth-50-learning_rate-0.25"),
    ({"model__score__width": 64, "train__optimizer__b1": 0.5}, "-score_width-64-optimizer_b1-0.5"),
    ({"data__source": "/a/b"}, "-[0-9a-f]{6}"),
    ({f"train__optimizer__{key}": 0.5 for key in ("b1", "b2", "epsilon", "weight_decay")}, "-[0-9a-f]{6}"),
]


@pytest.mark.parametrize(("changes", "suffix"), SUFFIXES)
def test_the_default_names_what_differs_from_the_configuration(changes, suffix):
    """Many or long changes become a digest of their values."""
    others = (changes | {"train__optimizer__b2": b2} for b2 in (0.25, 0.75))
    names = [workdir.default_workdir(changed(seed=3, **each), CONFIG) for each in (changes, *others)]
    assert re.fullmatch(f"runs/tiny-vdm-seed3{suffix}", str(names[0]))
    assert len(set(names)) == 3


def test_the_configuration_is_read_as_it_was_stored_and_leaves_the_computation_to_the_machine(tmp_path):
    free = {"train__steps": 9, "train__augment": "flip", "eval__dtype": "bfloat16"}
    StoredRun(tmp_path).write(tiny.config(model__scan=True, model__remat="block", **free))
    assert StoredRun(tmp_path).config == tiny.config(**free)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"name": "a", "arm": "b", "model": 3}', ""])
def test_a_damaged_configuration_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=str(tmp_path / "config.json")) as caught:
        _ = StoredRun(tmp_path).config
    assert "\n" not in str(caught.value)


def test_a_run_continues_with_its_own_configuration_only(tmp_path):
    StoredRun(tmp_path).check(CONFIG, must_exist=False)
    StoredRun(tmp_path).write(CONFIG)
    for free in ({"train__steps": 99}, {"eval__passes": 7}, {"mesh__fsdp": 2}, {"data__dir": "a"}):
        StoredRun(tmp_path).check(changed(**free), must_exist=False)
    with pytest.raises(InputError, match=r"configuration: seed=1 \(there 0\); train.optimizer.b1=0.5 \(there 0.9\);"):
        StoredRun(tmp_path).check(changed(seed=1, train__optimizer__b1=0.5), must_exist=True)


def test_a_run_is_evaluated_with_another_loss_unless_a_ratio_is_learned(tmp_path):
    StoredRun(tmp_path).write(CONFIG)
    StoredRun(tmp_path).check(changed(loss__depth=5), must_exist=True)
    with pytest.raises(InputError, match=r"loss.depth=5"):
        StoredRun(tmp_path).check(changed(loss__depth=5), must_exist=False)
    learned = changed(loss__depth=3, loss__variance_ratio="learned")
    with pytest.raises(InputError, match=r"loss.variance_ratio=learned"):
        StoredRun(tmp_path).check(learned, must_exist=True)
    StoredRun(tmp_path).write(learned)
    with pytest.raises(InputError, match="there learned"):
        StoredRun(tmp_path).check(changed(loss__depth=3), must_exist=True)


def test_runs_and_their_checkpoints_are_found(tmp_path):
    for name in ("vdm-seed1", "vdm-seed0"):
        StoredRun(tmp_path / name).write(CONFIG)
    for name in ("900", "1000", "1100.orbax-checkpoint-tmp"):  # a save that was interrupted leaves the last one
        (tmp_path / "vdm-seed0" / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    assert [run.workdir for run in runs_in(tmp_path)] == [tmp_path / "vdm-seed0", tmp_path / "vdm-seed1"]
    assert StoredRun(tmp_path / "vdm-seed0").exists
    assert StoredRun(tmp_path / "vdm-seed0").steps() == [900, 1000]
    assert StoredRun(tmp_path / "vdm-seed1").steps() == [run.workdir for run in runs_in(tmp_path / "none")] == []
    assert not StoredRun(tmp_path).exists


def test_workdirs_without_a_configuration(tmp_path):
    with pytest.raises(InputError, match=r"holds no run \(no config.json\)"):
        StoredRun(tmp_path).check(CONFIG, must_exist=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is not a folder"):
        StoredRun(tmp_path / "file").check(CONFIG, must_exist=False)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match=r"holds checkpoints but no config.json"):
        StoredRun(tmp_path).check(CONFIG, must_exist=False)


def test_a_run_is_moved_aside_and_nothing_is_deleted(tmp_path):
    for number in range(3):
        with workdir.locked_run(tmp_path / "run", changed(seed=number)):
            pass
        assert workdir.set_aside(tmp_path / "run") == tmp_path / f"run.{number + 1}"
        assert not StoredRun(tmp_path / "run").exists
    assert workdir.set_aside(tmp_path / "run") is None
    assert [StoredRun(tmp_path / f"run.{number + 1}").config.seed for number in range(3)] == [0, 1, 2]


def test_a_second_process_is_refused(tmp_path):
    """The configuration stays as it is while a process holds the workdir."""
    with workdir.locked_run(tmp_path, CONFIG):
        with pytest.raises(InputError, match=f"another process trains in {tmp_path}; wait for it"):
            workdir.locked_run(tmp_path, changed(train__steps=3)).__enter__()
        with pytest.raises(InputError, match=f"another process trains in {tmp_path}; wait for it"):
            workdir.set_aside(tmp_path)
        assert StoredRun(tmp_path).config == CONFIG

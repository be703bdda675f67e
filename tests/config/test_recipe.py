"""The recipe's deviations from the published one, and the arms that undo them."""

import pytest

from diffenc_jax.config import Config, flatten, load_config
from diffenc_jax.config.recipe import AS_PUBLISHED, DEVIATIONS, Deviation, choose_arm, recipe
from diffenc_jax.core.errors import InputError


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.what)
def test_keys_that_undo_a_deviation_change_the_recipe(deviation):
    config = Config.parse(recipe("cifar10", "diffenc"))
    changed, given = flatten(config.replace(deviation.changes).to_dict()), flatten(config.to_dict())
    assert {key: changed[key] for key in changed if changed[key] != given[key]} == deviation.changes


@pytest.mark.parametrize("spec", ["digits:diffenc", "cifar10:vdm-8"])
def test_a_published_arm_undoes_what_keys_can_undo_in_training(spec):
    changes = AS_PUBLISHED | {"arm": f"{spec.partition(':')[2]}-published"}
    assert load_config(f"{spec}-published") == load_config(spec).replace(changes)
    assert AS_PUBLISHED == {"train.ends_every": 1, "data.shuffle_shards": 1}


@pytest.mark.parametrize("spec", ["digits_variants:diffenc-dct", "cifar10:vdm-8-published", "synthetic:nontrainable"])
def test_every_arm_can_be_trained_at_a_depth(spec):
    arm = f"{spec.partition(':')[2]}-T50"
    assert load_config(f"{spec}-T50") == load_config(spec).replace({"arm": arm, "loss.depth": 50})


def test_at_a_depth_an_arm_has_the_flops_of_the_other_arm_at_this_depth():
    plain = load_config("mnist:vdm-flops").replace({"arm": "vdm-flops-published-T10", "loss.depth": 10})
    assert plain.train.flops_of == "diffenc"
    changes = AS_PUBLISHED | {"train.flops_of": "diffenc-published-T10"}
    assert load_config("mnist:vdm-flops-published-T10") == plain.replace(changes)


@pytest.mark.parametrize(
    "arm", ["diffenc-T0", "diffenc-Tx", "diffenc-T", "diffenc-T010", "diffenc-T-5", "diffenc-T1e2"]
)
def test_a_suffix_without_a_depth_is_refused(arm):
    with pytest.raises(InputError) as error:
        load_config(f"digits:{arm}")
    text = "-T must be followed by one depth in steps, such as diffenc-T10"
    assert str(error.value) == f"--config=digits:{arm}: arm '{arm}': {text}"


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("diffenc-T10-T20", "unknown arm 'diffenc-T10', perhaps diffenc"),
        ("diff-T10", "unknown arm 'diff', perhaps diffenc; known: diffenc, nontrainable, vdm"),
        ("diffenc-T4294967296", "loss.depth=4294967296 is too large"),
    ],
)
def test_other_suffixes_are_refused(arm, message):
    with pytest.raises(InputError, match=message):
        load_config(f"digits:{arm}")


def test_an_arm_may_have_a_name_that_looks_like_a_suffix():
    arms = {"vdm-Tiny": {"train.steps": 3}}
    assert choose_arm(recipe("mine", "vdm-Tiny"), arms).train.steps == 3
    assert choose_arm(recipe("mine", "vdm-Tiny-T7"), arms).loss.depth == 7


def test_what_undoes_a_deviation_in_words():
    keys = {"eval.passes": 1, "eval.time_sampling": "uniform"}
    assert Deviation("a", "b", "c", "d").remedy == "none"
    assert Deviation("a", "b", "c", "d", keys).remedy == "eval.passes=1, eval.time_sampling=uniform"
    assert Deviation("a", "b", "c", "d", keys, exact=False).remedy.startswith("nearest: eval.passes=1, ")


def test_the_list_has_the_numbers_of_the_recipe():
    config = Config.parse(recipe("cifar10", "diffenc"))
    here = {deviation.what: deviation.here for deviation in DEVIATIONS}
    assert config.train.ends_every == 8
    assert here["end-point terms"].startswith("of one image in eight ")
    assert f"{config.data.shuffle_shards} parts" in here["order of the images"]
    assert here["random numbers"].startswith(f"seed {config.seed}, ")

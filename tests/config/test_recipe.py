"""The recipe's deviations from the published one, and the arms that undo them."""

import pytest

from configs.digits import FAST_DIGITS
from diffenc_jax.config import load_config
from diffenc_jax.config.recipe import AS_PUBLISHED, FAST_RECIPE, choose_arm, recipe
from diffenc_jax.core.errors import InputError

NO_DEPTHS = ("diffenc-T0", "diffenc-Tx", "diffenc-T", "diffenc-T010", "diffenc-T-5", "diffenc-T1e2")


@pytest.mark.parametrize("spec", ["digits:diffenc", "cifar10:vdm-8"])
def test_a_published_arm_undoes_what_keys_can_undo_in_training(spec):
    changes = AS_PUBLISHED | {"arm": f"{spec.partition(':')[2]}-published"}
    assert load_config(f"{spec}-published") == load_config(spec).replace(changes)
    assert AS_PUBLISHED == {"train.endpoint_interval": 1, "data.shuffle_shards": 1}


def test_a_fast_arm_has_the_fast_recipe_and_a_third_of_the_steps():
    """Or what its configuration says besides; and the FLOPs of another arm are those of its fast training."""
    config = load_config("mnist:vdm-8").replace(FAST_RECIPE | {"arm": "vdm-8-fast"})
    assert load_config("mnist:vdm-8-fast") == config.replace({"train.steps": round(config.train.steps / 3)})
    changes = FAST_RECIPE | FAST_DIGITS.changes | {"train.steps": 850, "arm": "vdm-fast-T10", "loss.depth": 10}
    assert load_config("digits:vdm-fast-T10") == load_config("digits:vdm").replace(changes)
    assert load_config("mnist:vdm-flops-fast").train.flops_of == "diffenc-fast"


@pytest.mark.parametrize("spec", ["digits_variants:diffenc-dct", "cifar10:vdm-8-published", "synthetic:nontrainable"])
def test_every_arm_can_be_trained_at_a_depth(spec):
    arm = f"{spec.partition(':')[2]}-T50"
    assert load_config(f"{spec}-T50") == load_config(spec).replace({"arm": arm, "loss.depth": 50})


def test_at_a_depth_an_arm_has_the_flops_of_the_other_arm_at_this_depth():
    plain = load_config("mnist:vdm-flops").replace({"arm": "vdm-flops-published-T10", "loss.depth": 10})
    assert plain.train.flops_of == "diffenc"
    changes = AS_PUBLISHED | {"train.flops_of": "diffenc-published-T10"}
    assert load_config("mnist:vdm-flops-published-T10") == plain.replace(changes)


REFUSED = [
    *((arm, "-T must be followed by one depth in steps, such as diffenc-T10") for arm in NO_DEPTHS),
    ("diffenc-T10-T20", "unknown arm 'diffenc-T10', perhaps diffenc"),
    ("diff-T10", "unknown arm 'diff', perhaps diffenc; known: diffenc, nontrainable, vdm"),
    ("diffenc-T4294967296", "loss.depth=4294967296 is too large"),
]


@pytest.mark.parametrize(("arm", "message"), REFUSED)
def test_suffixes_without_a_depth_are_refused(arm, message):
    with pytest.raises(InputError, match=message):
        load_config(f"digits:{arm}")


def test_an_arm_may_have_a_name_that_looks_like_a_suffix():
    arms = {"vdm-Tiny": {"train.steps": 3}}
    assert choose_arm(recipe("mine", "vdm-Tiny"), arms).train.steps == 3
    assert choose_arm(recipe("mine", "vdm-Tiny-T7"), arms).loss.depth == 7

"""The whole configuration: changed and compared, its recipe, and the arms that undo the recipe."""

import pytest

from configs.digits import FAST_DIGITS
from diffenc_jax.config import Config, load_config
from diffenc_jax.config.config import CHANGEABLE
from diffenc_jax.config.recipe import AS_PUBLISHED, FAST_RECIPE, choose_arm, encoder_network, recipe, with_changes
from diffenc_jax.config.sections import LossConfig
from diffenc_jax.core.errors import InputError
from tests import tiny


def test_configurations_do_not_share_sections():
    network = encoder_network()
    ours, theirs = (with_changes(recipe("a", "b"), {"model.encoder": network}) for _ in range(2))
    ours.model.encoder.width = 8
    assert theirs.model.encoder.width == network.width == 64


def test_replaces_values_and_sections():
    config = tiny.config()
    changed = config.replace({"model.scan": True, "loss": LossConfig(10), "model.encoder": {"kind": "identity"}})
    assert changed.model.scan is True
    assert changed.loss.depth == 10
    assert changed.model.encoder.to_dict() == {"kind": "identity"}
    assert changed.replace({"model.scan": False, "loss.depth": None, "model.encoder": config.model.encoder}) == config


def test_free_keys_do_not_change_the_identity():
    config = tiny.config()
    free = {
        "train.steps": 9,
        "train.flops_of": "diffenc",
        "train.on_nonfinite": "skip",
        "data.dir": "there",
        "model.scan": True,
        "model.remat": "block",
        "eval.passes": 4,
        "mesh.fsdp": 2,
        "sample.num": 8,
        "log.every_steps": 9,
        "checkpoint.every_steps": 9,
        "fit.grid": 32,
        "ode.rtol": 0.1,
    }
    assert {key if key in CHANGEABLE else key.partition(".")[0] for key in free} == set(CHANGEABLE)
    other = config.replace(free)
    assert other.hash == config.hash
    assert not config.differences(other)


def test_other_keys_change_it_and_are_named():
    config = tiny.config()
    changes = {"seed": 1, "train.learning_rate": 5e-4, "model.score.width": 64, "data.shuffle_shards": 2}
    for key, value in changes.items():
        other = config.replace({key: value})
        assert other.hash != config.hash
        assert len(other.hash) == 12
        assert other.differences(config) == [f"{key}={value} (there {config.identity()[key]})"]
    found = tiny.config("vdm").differences(config)
    assert "model.encoder.kind=identity (there trainable)" in found
    assert "model.encoder.width=(absent) (there 32)" in found


@pytest.mark.parametrize(("interval", "stored_hash"), [(8, "c452be8a222d"), (2, "c352d5119f74")])
def test_a_key_that_is_stored_under_another_name_is_read_and_changes_no_hash(interval, stored_hash):
    """Checkpoints and records name their run by this hash."""
    config = load_config("digits:vdm", {"train.endpoint_interval": interval})
    assert config.hash == stored_hash
    values = config.to_dict()
    values["train"]["ends_every"] = values["train"].pop("endpoint_interval")
    assert Config.parse(values) == config


def test_a_stored_configuration_may_lack_a_key_that_was_added():
    values = load_config("digits:vdm").to_dict()
    assert values["ode"].pop("method") == "Bosh3"
    assert Config.parse(values) == load_config("digits:vdm")


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


def test_a_pooled_arm_has_one_pooling_two_thirds_of_the_layers_and_more_steps():
    """In any recipe; and the FLOPs of another arm are those of that arm pooled."""
    for suffix in ("", "-fast", "-published-T10"):
        changes = {"arm": f"vdm-flops-pooled{suffix}", "train.flops_of": f"diffenc-pooled{suffix}"}
        flat = load_config(f"digits_matched:vdm-flops{suffix}")
        changes |= {"model.score.levels": 1, "model.score.layers": 2, "train.steps": round(1.3 * flat.train.steps)}
        pooled = flat.replace(changes)
        assert load_config(f"digits_matched:vdm-flops-pooled{suffix}") == pooled
    assert load_config("cifar10:vdm-pooled").model.score.options["layers"] == 21


@pytest.mark.parametrize("spec", ["digits_variants:diffenc-dct", "cifar10:vdm-8-published", "synthetic:nontrainable"])
def test_every_arm_can_be_trained_at_a_depth(spec):
    arm = f"{spec.partition(':')[2]}-T50"
    assert load_config(f"{spec}-T50") == load_config(spec).replace({"arm": arm, "loss.depth": 50})


def test_at_a_depth_an_arm_has_the_flops_of_the_other_arm_at_this_depth():
    plain = load_config("mnist:vdm-flops").replace({"arm": "vdm-flops-published-T10", "loss.depth": 10})
    assert plain.train.flops_of == "diffenc"
    changes = AS_PUBLISHED | {"train.flops_of": "diffenc-published-T10"}
    assert load_config("mnist:vdm-flops-published-T10") == plain.replace(changes)


@pytest.mark.parametrize("spec", ["digits_variants:vdm-transformer-pooled-fast", "arrays:vdm-series-pooled"])
def test_only_u_nets_without_pooling_are_pooled(spec):
    with pytest.raises(InputError, match="-pooled is for model"):
        load_config(spec)


REFUSED = [
    *((arm, "-T must be followed by one depth in steps, such as diffenc-T10") for arm in NO_DEPTHS),
    ("diffenc-T10-T20", "unknown arm 'diffenc-T10', perhaps diffenc"),
    ("diff-T10", "unknown arm 'diff', perhaps diffenc; known: diffenc, nontrainable, vdm"),
    ("diffenc-T4294967296", "loss.depth=4294967296 is too large"),
    ("diffenc-fast-pooled", "unknown arm 'diffenc-fast'"),
]


@pytest.mark.parametrize(("arm", "message"), REFUSED)
def test_suffixes_without_a_depth_are_refused(arm, message):
    with pytest.raises(InputError, match=message):
        load_config(f"digits:{arm}")


def test_an_arm_may_have_a_name_that_looks_like_a_suffix():
    arms = {"vdm-Tiny": {"train.steps": 3}}
    assert choose_arm(recipe("mine", "vdm-Tiny"), arms).train.steps == 3
    assert choose_arm(recipe("mine", "vdm-Tiny-T7"), arms).loss.depth == 7

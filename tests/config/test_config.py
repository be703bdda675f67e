"""The whole configuration: changed and compared."""

import pytest

from diffenc_jax.config import Config, load_config
from diffenc_jax.config.config import CHANGEABLE
from diffenc_jax.config.recipe import encoder_network, recipe, with_changes
from diffenc_jax.config.sections import LossConfig
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

"""The recipe's deviations from the published one, and the arms that undo them."""

import pytest

from diffenc_jax.config import Config, flatten, load_config
from diffenc_jax.config.recipe import AS_PUBLISHED, DEVIATIONS, Deviation, recipe
from tests import shipped


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.what)
def test_keys_that_undo_a_deviation_change_the_recipe(deviation):
    config = Config.parse(recipe("cifar10", "diffenc"))
    changed, given = flatten(config.replace(deviation.changes).to_dict()), flatten(config.to_dict())
    assert {key: changed[key] for key in changed if changed[key] != given[key]} == deviation.changes


@pytest.mark.parametrize(("name", "arm"), [(name, arm) for name, arms in shipped.PUBLISHED.items() for arm in arms])
def test_a_published_arm_undoes_what_keys_can_undo_in_training(name, arm):
    plain = load_config(f"{name}:{arm.removesuffix('-published')}")
    assert load_config(f"{name}:{arm}") == plain.replace(AS_PUBLISHED | {"arm": arm})
    assert AS_PUBLISHED == {"train.ends_every": 1, "data.shuffle_shards": 1}


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

"""Costs of a step: measured, and what the file says of them."""

import jax
import numpy as np
import pytest

from diffenc_jax.core import versions
from diffenc_jax.lab.studies.costs.measure import measure_costs
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.flops import count
from diffenc_jax.train.step import StepFunction
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)


def tree_bytes(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    """Costs of one model at two batch sizes: (configuration, costs)."""
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, train=tiny.images(20), test=tiny.images(13, seed=1))
    configs = [tiny.config("vdm", small=True, data__source=str(path), train__batch_size=size) for size in (8, 32)]
    return [(config, measure_costs(config, timed_steps=4)) for config in configs]


@pytest.mark.slow
def test_memory_is_the_state_and_temporaries_that_grow_with_the_batch(costs):
    for config, cost in costs:
        state = jax.eval_shape(StepFunction(build(config, SPEC), config).init)
        arguments = tree_bytes(state) + config.train.batch_size * SPEC.dims
        assert arguments <= cost["memory_of_state"] < 1.02 * arguments
        assert cost["memory_per_step"] == cost["memory_of_state"] + cost["memory_of_temporaries"]
    small, large = (cost["memory_of_temporaries"] for _, cost in costs)
    assert 1.5 < large / small < 4.5


@pytest.mark.slow
def test_costs_say_what_was_measured(costs):
    for config, cost in costs:
        counts = count(config, SPEC)
        assert (cost["params"], cost["params_by_part"]) == (counts.total_params, counts.params)
        assert cost["flops_per_step"] == counts.flops_per_step
        assert cost["train_flops"] == 8 * counts.flops_per_step
        lower, upper = cost["seconds_per_step_quartiles"]
        assert 0 < lower <= cost["seconds_per_step"] <= upper < cost["compile_seconds"]
        assert cost["config_hash"] == config.hash
        assert (cost["config"], cost["arm"], cost["dtype"]) == ("tiny", "vdm", "float32")
        assert (cost["batch_size"], cost["steps"], cost["timed_steps"]) == (config.train.batch_size, 8, 4)
        assert cost["device"] == versions.device()
        assert cost["software"]["jax"] == jax.__version__

"""What lies how on a mesh."""

import math

import jax
import pytest

from diffenc_jax.config import recipe
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train import sharding
from diffenc_jax.train.step import init_and_step


@pytest.fixture(scope="module")
def state():
    """Shapes of the state of the published model."""
    config = recipe("cifar10", "diffenc")
    init, _ = init_and_step(build(config, ImageSpec((32, 32, 3), 256)), config)
    return jax.eval_shape(init)


@pytest.mark.parametrize("devices", [1, 2, 4, 8, 16])
def test_the_state_that_a_device_holds_falls_as_one_over_their_number(state, devices):
    """On meshes of devices that need not be there."""
    mesh = jax.sharding.AbstractMesh((2, devices), ("data", "fsdp"))
    laid = jax.tree.leaves(sharding.abstract(state, sharding.of_state(mesh, state)))
    held = sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in laid)
    whole = sum(leaf.size for leaf in laid)
    assert whole <= devices * held < 1.03 * whole


def test_calls_come_back_in_order_and_few_are_under_way():
    started = []

    def calls():
        for number in range(6):
            started.append(number)
            yield number

    for number in sharding.in_flight(calls()):
        assert len(started) == min(number + 1 + sharding.IN_FLIGHT, 6)
    assert number == 5

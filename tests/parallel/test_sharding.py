"""Shardings on a mesh, and calls in flight."""

import math

import jax
import pytest

from diffenc_jax.config import Config
from diffenc_jax.config.recipe import recipe
from diffenc_jax.core.errors import InputError
from diffenc_jax.model import DataSpec, build
from diffenc_jax.parallel import sharding


@pytest.fixture(scope="module")
def shapes():
    """Shapes of the parameters of the published model."""
    model = build(Config.parse(recipe("cifar10", "diffenc")), DataSpec((32, 32, 3), 256))
    return jax.eval_shape(model.init, jax.random.key(0))


@pytest.mark.parametrize("devices", [1, 2, 4, 8, 16])
def test_the_share_of_a_device_falls_as_one_over_their_number(shapes, devices):
    """On abstract meshes, whose devices need not exist."""
    mesh = jax.sharding.AbstractMesh((2, devices), ("data", "fsdp"))
    sharded = jax.tree.leaves(sharding.abstract_arrays(shapes, sharding.state_shardings(mesh, shapes)))
    share = sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in sharded)
    total = sum(leaf.size for leaf in sharded)
    assert total <= devices * share < 1.03 * total


def test_calls_come_back_in_order_and_few_are_in_flight():
    started = []

    def calls():
        for number in range(6):
            started.append(number)
            yield number

    for number in sharding.in_flight(calls()):
        assert len(started) == min(number + 1 + sharding.IN_FLIGHT, 6)
    assert number == 5


def test_batches_that_do_not_divide_over_the_devices_are_refused():
    mesh = sharding.make_mesh()
    sharding.check_batch(mesh, 6, "train.batch_size", 3)
    with pytest.raises(InputError, match=r"train.batch_size=7 does not divide into train.accumulate=3 parts"):
        sharding.check_batch(mesh, 7, "train.batch_size", 3)
    with pytest.raises(InputError, match=r"mesh.fsdp=2 does not divide the number of devices; take a divisor of 1"):
        sharding.make_mesh(2, jax.devices()[:1])

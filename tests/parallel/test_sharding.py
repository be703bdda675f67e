"""Arrays on devices: their shardings, batches in the order of the training images, and memory that is short."""

import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from diffenc_jax.config import Config
from diffenc_jax.config.recipe import recipe
from diffenc_jax.core.errors import InputError, RunError
from diffenc_jax.data.images import Batch, LocalPart
from diffenc_jax.data.pipeline import Order
from diffenc_jax.model import DataSpec, build
from diffenc_jax.parallel import memory, sharding
from diffenc_jax.parallel.batches import Batches, needed_rows
from diffenc_jax.train.program import TrainingProgram
from tests import tiny


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


def test_batches_follow_the_order_of_the_seed():
    config, images = tiny.config(seed=3, data__shuffle_shards=2), tiny.images(20)
    batches, order = Batches(Batch(images), config, sharding.make_mesh()), Order(20, 3, 8, 2)
    for step in (0, 1, 7):
        np.testing.assert_array_equal(batches(step).data, images[order.batch(step)])


def test_the_needed_images_are_enough():
    config, mesh, images = tiny.config(), sharding.make_mesh(), tiny.images(20)
    rows = needed_rows(config, mesh)(20)
    labels = np.arange(20, dtype=np.int32)
    held = Batch(LocalPart(images[rows], rows, images.shape), LocalPart(labels[rows], rows, labels.shape))
    part, whole = (Batches(split, config, mesh)(5) for split in (held, Batch(images, labels)))
    np.testing.assert_array_equal(part.data, whole.data)
    np.testing.assert_array_equal(part.labels, whole.labels)
    np.testing.assert_array_equal(images[np.asarray(whole.labels)], whole.data)


ADVICE = "lower train.batch_size=8, raise train.accumulate=1, or take model.remat=block"


@pytest.fixture(scope="module")
def program():
    """A training step on a device of 16 GiB."""
    config = tiny.config("vdm", small=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "device_memory", lambda: 2**34)
        yield TrainingProgram(tiny.model(config), config, sharding.make_mesh())


ERRORS = [
    ("Out of memory allocating 140342230816 bytes.", "at least 130.70 GiB"),
    ("Ran out of memory in memory space hbm. Used 20.5G of 15.75G hbm.", "at least 20.50 GiB"),
    ("Failed to allocate request for 1.5TiB on device", "more memory than is available"),
]


@pytest.mark.parametrize(("said", "needs"), ERRORS)
def test_an_error_of_the_compiler_or_of_a_call(program, monkeypatch, said, needs):
    def fail(*_):
        raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {said}")

    monkeypatch.setattr(jax.stages.Lowered, "compile", fail)
    message = f"^out of memory: a training step needs {needs}, and 16.00 GiB are available; {ADVICE}$"
    with pytest.raises(RunError, match=message):
        program.compiled()
    with pytest.raises(RunError, match=message), program.within_memory():
        fail()


def test_a_compiled_step_that_cannot_fit_is_not_run(program, monkeypatch):
    sizes = SimpleNamespace(**{f"{kind}_size_in_bytes": 2**33 for kind in ("argument", "output", "alias", "temp")})
    compiled = SimpleNamespace(memory_analysis=lambda: sizes)
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda _: compiled)
    assert program.compiled() is compiled
    sizes.temp_size_in_bytes += 2**30
    with pytest.raises(RunError, match=r"a training step needs at least 17.00 GiB, and 16.00 GiB are available; lower"):
        program.compiled()

"""Batches of several training steps as one argument of a compiled program."""

from functools import cached_property
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.config.sections import ON_DEVICE_MIB
from diffenc_jax.core.errors import require
from diffenc_jax.data.images import Batch
from diffenc_jax.parallel.feeding import Batches
from diffenc_jax.parallel.mesh import abstract_arrays, batched, replicated, rows_to_devices


class Feed(Protocol):
    """The batches of up to n consecutive steps as one argument of a compiled program.

    Attributes:
      shapes: ShapeDtypeStructs of the argument, with their shardings.
    """

    shapes: Any

    def __call__(self, step: int, count: int) -> Any:
        """The argument with the batches of `count` steps from `step` on, counted from 0."""
        ...

    def pick(self, argument: Any, index: jax.Array) -> Batch:
        """Batch `index` of an argument, within the program."""
        ...


class StackedFeed:
    """A feed whose argument holds the images of all batches, [n, B, H, W, C], which the hosts send."""

    def __init__(self, batches: Batches, length: int, batch: Batch):
        """Feed up to `length` of the `batches`, which have the ShapeDtypeStructs `batch`."""
        self._batches, self._length = batches, length
        shapes = jax.tree.map(lambda one: jax.ShapeDtypeStruct((length, *one.shape), one.dtype), batch)
        self.shapes = abstract_arrays(shapes, jax.tree.map(lambda _: batched(batches.mesh, axis=1), shapes))

    def __call__(self, step: int, count: int) -> Batch:
        batches, numbers = self._batches, numbers_of_steps(self._batches, step, count, self._length)
        here = jax.tree.map(lambda array: array[numbers], batches.train)
        return rows_to_devices(batches.mesh, here, batches.rows, batches.size, axis=1)

    def pick(self, argument: Batch, index: jax.Array) -> Batch:
        return jax.tree.map(lambda array: array[index], argument)


class Resident(NamedTuple):
    """Argument of `ResidentFeed`: all training images, and the indices [n, B] of those in each batch."""

    train: Batch
    numbers: Any


class ResidentFeed:
    """A feed whose images stay on the devices, each of which has all of them. The host sends indices alone."""

    def __init__(self, batches: Batches, length: int):
        """Feed up to `length` of the `batches` of a single host."""
        self._batches, self._length = batches, length
        self._everywhere, self._divided = replicated(batches.mesh), batched(batches.mesh, axis=1)
        numbers = jax.ShapeDtypeStruct((length, batches.size), np.int32, sharding=self._divided)
        train = abstract_arrays(batches.train, jax.tree.map(lambda _: self._everywhere, batches.train))
        self.shapes = Resident(train, numbers)

    @cached_property
    def _train(self) -> Batch:
        return jax.device_put(self._batches.train, self._everywhere)

    def __call__(self, step: int, count: int) -> Resident:
        numbers = numbers_of_steps(self._batches, step, count, self._length).astype(np.int32)
        return Resident(self._train, jax.device_put(numbers, self._divided))

    def pick(self, argument: Resident, index: jax.Array) -> Batch:
        numbers = argument.numbers[index]
        return jax.tree.map(lambda array: array.at[numbers].get(mode="promise_in_bounds"), argument.train)


def numbers_of_steps(batches: Batches, step: int, count: int, length: int) -> np.ndarray:
    """Indices [length, rows] of this host's images in the batches of `count` steps; the last one fills the rest."""
    numbers = [batches.numbers(step + index) for index in range(count)]
    return np.stack(numbers + numbers[-1:] * (length - count))


def is_on_device(config: Config, train: Batch) -> bool:
    """Whether training as `config` says keeps all training images on the devices; see data.on_device.

    Raises InputError if they should be kept there and cannot.
    """
    if config.train.steps_per_call == 1:
        return False
    asked, processes = config.data.on_device, jax.process_count()
    require(
        not asked or processes == 1,
        f"data.on_device=True is for one process, and this run has {processes}; leave it out",
    )
    if asked is not None or processes > 1:
        return bool(asked)
    return sum(array.nbytes for array in jax.tree.leaves(train)) <= ON_DEVICE_MIB * 2**20

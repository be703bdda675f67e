"""The mesh ('data', 'fsdp'), and what lies how on it. The only place that names mesh axes."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from diffenc_jax import hosts
from diffenc_jax.config import require
from diffenc_jax.data.images import Held

T = TypeVar("T")

# Calls under way: more gain nothing, and without a bound fake CPU devices deadlock.
IN_FLIGHT = 2
# Below this many values a parameter is replicated: sharding it would save nothing and cost a message.
MIN_SHARDED_SIZE = 2**12


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices, or those given, as a mesh; `fsdp` of them share one copy of the parameters.

    Raises:
      InputError: `fsdp` does not divide the number of devices.
    """
    count = jax.device_count() if devices is None else len(devices)
    require(fsdp >= 1 and count % fsdp == 0, f"mesh.fsdp={fsdp} does not divide the {count} devices")
    types = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((count // fsdp, fsdp), ("data", "fsdp"), axis_types=types, devices=devices)


def check_batch(mesh: Mesh, batch_size: int, key: str, parts: int = 1) -> None:
    """Raises InputError unless a batch divides over the devices, in so many parts."""
    least, each = mesh.size * parts, f" in {parts} parts each" if parts > 1 else ""
    require(
        batch_size >= 1 and batch_size % least == 0,
        f"{key}={batch_size} does not divide over {mesh.size} devices{each}; take a multiple of {least}",
    )


def round_up(mesh: Mesh, batch_size: int) -> int:
    """The least multiple of the number of devices that is not below `batch_size`."""
    return -(-batch_size // mesh.size) * mesh.size


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
    """The leading axis divided over all devices."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def of_state(mesh: Mesh, shapes: Any) -> Any:
    """Shardings for a tree of ShapeDtypeStructs: the largest axis that divides, over 'fsdp'."""

    def one(leaf):
        size = mesh.shape["fsdp"]
        axes = [axis for axis, length in enumerate(leaf.shape) if length % size == 0]
        if size == 1 or leaf.size < MIN_SHARDED_SIZE or not axes:
            return replicated(mesh)
        largest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * largest, "fsdp"))

    return jax.tree.map(one, shapes)


def abstract(shapes: Any, shardings: Any) -> Any:
    """ShapeDtypeStructs of `shapes` that carry `shardings`."""
    return jax.tree.map(
        lambda s, sharding: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), shapes, shardings
    )


def host_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """The rows of a batch, increasing, that lie on devices of this host."""
    rows = np.arange(batch_size)
    places = batched(mesh).addressable_devices_indices_map((batch_size,))
    return np.unique(np.concatenate([rows[place] for place in places.values()]))


def rows_to_devices(mesh: Mesh, host_array: np.ndarray, rows: np.ndarray, batch_size: int) -> jax.Array:
    """A global array [batch_size, ...], divided over all devices, of which each host gives its `host_rows`."""
    at = np.zeros(batch_size, np.int64)
    at[rows] = np.arange(len(rows))
    shape = (batch_size, *host_array.shape[1:])
    return jax.make_array_from_callback(shape, batched(mesh), lambda place: host_array[at[place[0]]][:, *place[1:]])


def to_devices(mesh: Mesh, host_array: np.ndarray) -> jax.Array:
    """The same array on all hosts, as a global one, divided over all devices; each sends only its devices' rows."""
    return jax.make_array_from_callback(host_array.shape, batched(mesh), lambda index: host_array[index])


def in_flight(started: Iterable[T]) -> Iterator[T]:
    """What `started` yields of jitted calls as they are started, in order, each when `IN_FLIGHT` later ones are too."""
    pending = deque()
    for call in started:
        pending.append(call)
        if len(pending) > IN_FLIGHT:
            yield pending.popleft()
    yield from pending


def fetch(images: np.ndarray | Held, rows: np.ndarray) -> np.ndarray:
    """The images of the numbers `rows`, on every host, whichever holds them. All hosts must ask."""
    if isinstance(images, np.ndarray):
        return images[rows]
    ours = images.has(rows)
    given = np.zeros((len(rows), *images.shape[1:]), images.held.dtype)
    given[ours] = images[rows[ours]]
    return hosts.largest(given)

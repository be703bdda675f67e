"""The device mesh ('data', 'fsdp') and shardings on it. No other module names mesh axes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from diffenc_jax.core.errors import first_line, require
from diffenc_jax.data.images import LocalPart
from diffenc_jax.parallel import hosts

T = TypeVar("T")
# An array, or a tree of arrays such as `Batch`.
Tree = Any

# Jitted calls in flight. More gain nothing, and without a bound fake CPU devices deadlock.
IN_FLIGHT = 2
# Parameters with fewer values are replicated: sharding them would save little memory and cost a message each.
MIN_SHARDED_SIZE = 2**12


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Mesh of all devices, or of `devices`; each group of `fsdp` devices shares one copy of the parameters.

    TPU slices are joined by the network of the data centre, and only the data axis crosses it: all devices of a group
    belong to one slice.

    Raises InputError if `fsdp` does not divide the number of all devices, or the number of devices per slice.
    """
    devices = jax.devices() if devices is None else list(devices)
    count, slices = len(devices), num_slices(devices)
    divides = fsdp >= 1 and count % fsdp == 0
    require(divides, f"mesh.fsdp={fsdp} does not divide the number of devices; take a divisor of {count}")
    types = (AxisType.Auto, AxisType.Auto)
    if slices == 1:
        return jax.make_mesh((count // fsdp, fsdp), ("data", "fsdp"), axis_types=types, devices=devices)
    each = count // slices
    span = f"mesh.fsdp={fsdp} would span the {slices} slices, of {each} devices each"
    require(each % fsdp == 0, f"{span}; take a divisor of {each}")
    shape = (each // fsdp, fsdp)
    grid = mesh_utils.create_hybrid_device_mesh(shape, (slices, 1), devices, allow_split_physical_axes=True)
    return Mesh(grid, ("data", "fsdp"), axis_types=types)


def missing_platform() -> str | None:
    """Message for the case that JAX finds no device of JAX_PLATFORMS; None if it finds one."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # jax asserts that there is a device, even without the plugin
        reason = str(error) and first_line(error).partition(" (set JAX_PLATFORMS")[0]
        platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
        install = "install diffenc_jax with the extra cuda or tpu and check the driver"
        advice = f"{install}, or unset JAX_PLATFORMS to use any device"
        return f"JAX_PLATFORMS={platforms}: no such device can be used{reason and ': '}{reason}; {advice}"
    return None


def num_slices(devices: Sequence[jax.Device]) -> int:
    """Number of TPU slices to which `devices` belong; 1 for devices of other kinds."""
    if devices[0].platform != "tpu":
        return 1
    return len({getattr(device, "slice_index", 0) for device in devices})


def check_batch(mesh: Mesh, batch_size: int, key: str, parts: int = 1) -> None:
    """Raise InputError unless a batch divides over the devices, and each share of it into `parts` parts.

    Args:
      key: key of the batch size in the configuration.
      parts: `train.accumulate`.
    """
    least, each = mesh.size * parts, f", with train.accumulate={parts} parts on each" if parts > 1 else ""
    how = f"into train.accumulate={parts} parts" if mesh.size == 1 else f"over {mesh.size} devices{each}"
    divides = batch_size >= 1 and batch_size % least == 0
    require(divides, f"{key}={batch_size} does not divide {how}; take a multiple of {least}")


def round_up(mesh: Mesh, batch_size: int) -> int:
    """The smallest multiple of the number of devices that is at least `batch_size`."""
    return -(-batch_size // mesh.size) * mesh.size


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding with a full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
    """Sharding with the leading axis divided over all devices."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def state_shardings(mesh: Mesh, shapes: Any) -> Any:
    """Shardings for a tree of ShapeDtypeStructs: the largest axis that divides evenly is sharded over 'fsdp'."""

    def one(leaf):
        size = mesh.shape["fsdp"]
        axes = [axis for axis, length in enumerate(leaf.shape) if length % size == 0]
        if size == 1 or leaf.size < MIN_SHARDED_SIZE or not axes:
            return replicated(mesh)
        largest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * largest, "fsdp"))

    return jax.tree.map(one, shapes)


def gathered(mesh: Mesh | None, params: Tree) -> Tree:
    """Within a program, copy parameters that are sharded by `state_shardings` to every device.

    Otherwise XLA would divide the networks' channels like the parameters, and move activations, which are larger.
    """
    if mesh is None or mesh.shape["fsdp"] == 1:
        return params
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, replicated(mesh)), params)


def scattered(mesh: Mesh | None, grads: Tree, scanned: bool) -> Tree:
    """Within a program, sum gradients over the devices and divide them as `state_shardings` says.

    On TPUs, gradients of unrolled layers are first copied to every device. Without the copy, XLA would give each chip
    some of the channels of all images. By the compiler's estimate, a step of `cifar10:vdm-8` on four v5e would take 1.9
    times the cycles. With `scanned` layers and on GPUs XLA does not do so. There the copy would cost memory, and GPUs
    would send a third more bytes.
    """
    if mesh is None or mesh.shape["fsdp"] == 1:
        return grads
    if mesh.devices.flat[0].platform == "tpu" and not scanned:
        grads = gathered(mesh, grads)
    return jax.tree.map(jax.lax.with_sharding_constraint, grads, state_shardings(mesh, grads))


def by_entry(mesh: Mesh | None, f: Callable[[jax.Array], jax.Array], stack: jax.Array) -> jax.Array:
    """Within a program, f(stack) for an `f` of each entry of the leading axis.

    Devices that share one copy of the parameters divide the entries among them: each would have to collect all
    parameters otherwise. Without such sharing every device computes all entries, because sending results costs more.
    By the compiler for four v5e, a step of `cifar10:vdm-8` by Muon takes 21.0 and 21.2 million cycles with and without
    the division if the devices share a copy, and sends 229 and 404 MB; otherwise 21.5 and 21.4, and 885 and 32 MB.
    """
    if mesh is None or mesh.shape["fsdp"] == 1:
        return f(stack)
    size, count = mesh.shape["fsdp"], len(stack)
    padded = jnp.pad(stack, [(0, -count % size), *[(0, 0)] * (stack.ndim - 1)])
    return f(jax.lax.with_sharding_constraint(padded, NamedSharding(mesh, PartitionSpec("fsdp"))))[:count]


def abstract_arrays(shapes: Any, shardings: Any) -> Any:
    """ShapeDtypeStructs with the shapes and dtypes of `shapes` that carry `shardings`."""
    return jax.tree.map(lambda shape, sharding: shape.update(sharding=sharding), shapes, shardings)


def host_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Increasing indices of the rows of a batch that lie on this host's devices."""
    rows = np.arange(batch_size)
    places = batched(mesh).addressable_devices_indices_map((batch_size,))
    return np.unique(np.concatenate([rows[place] for place in places.values() if place is not None]))


def to_devices(mesh: Mesh, arrays: Tree) -> Tree:
    """Tree of global arrays divided over all devices, from whole arrays on every host; a host sends only its rows."""
    put = jax.make_array_from_process_local_data
    return jax.tree.map(lambda array: put(batched(mesh), array, array.shape), arrays)


def in_flight(started: Iterable[T]) -> Iterator[T]:
    """Results of jitted calls, in order, each delayed until `IN_FLIGHT` later calls have started.

    Args:
      started: iterable that starts a call for each of its items, which is the call's result.
    """
    pending: deque[T] = deque()
    for call in started:
        pending.append(call)
        if len(pending) > IN_FLIGHT:
            yield pending.popleft()
    yield from pending


def fetch(split: Tree, rows: np.ndarray) -> Tree:
    """The `rows` of a split's images, or of its images and labels, on every host, whichever host holds them.

    Every host must call this.
    """

    def one(held: np.ndarray | LocalPart) -> np.ndarray:
        if isinstance(held, np.ndarray):
            return held[rows]
        ours = held.has(rows)
        values = np.zeros((len(rows), *held.shape[1:]), held.local.dtype)
        values[ours] = held[rows[ours]]
        return hosts.elementwise_max(values)

    return jax.tree.map(one, split)

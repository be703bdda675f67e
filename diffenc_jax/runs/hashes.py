"""Checksums of a checkpoint's arrays, which prove that the restored values are the saved ones.

A checksum is the pair of sums Σ t_p and Σ u_p modulo 2^32 over all places p of an array, where x_p are the bits of a
value, t_p = mix(x_p ⊕ c p) and u_p = mix(t_p), with an odd c and a bijection mix. So it is the same however the array
is divided over devices: each host sums its own parts, and none sees the whole. A change of one value is found for
certain, any other change but for a chance of 2^-64; nobody is kept from forging one.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.errors import RunError
from diffenc_jax.parallel import hosts

# {'ema/score/conv_in/kernel': ['float32', [3, 3, 3, 128], checksum], ...}
Hashes = dict[str, list]
BLOCK = 2**16  # values whose checksum CPUs take at once


class Damaged(RunError):
    """A checkpoint, or a part of it, is not what was saved; the text says which part."""


def own_hashes(items: Mapping[str, Any], copies: bool = False) -> Callable[[], Hashes]:
    """Function that returns the checksums of this host's parts of the trees `items`; those of all hosts add up.

    An array that every host holds counts on the first one, with `copies` on each. On accelerators the computation
    starts at once, where the arrays lie. On CPUs it is that of the function, which may run while a step replaces the
    arrays.
    """
    named = _named(items)
    started = [_start(leaf) if copies or hosts.is_first() or _is_divided(leaf) else [] for _, leaf in named]
    return lambda: {
        name: [leaf.dtype.name, list(leaf.shape), _sum(part() for part in parts).tolist()]
        for (name, leaf), parts in zip(named, started, strict=True)
    }


def sum_of_hosts(hashes: Sequence[Hashes]) -> Hashes:
    """Checksums of whole arrays from the `own_hashes` of all hosts."""
    return {
        name: [*entry[:2], _sum(np.array(each[name][2], np.uint32) for each in hashes).tolist()]
        for name, entry in hashes[0].items()
    }


def hash_arrays(items: Mapping[str, Any]) -> Hashes:
    """Checksums of all arrays of the trees `items`. Every host must call this; each sums its own copy of an array."""
    hashes = own_hashes(items, copies=True)()
    divided = [name for name, leaf in _named(items) if _is_divided(leaf)]
    if divided:
        sums = hosts.total(np.array([hashes[name][2] for name in divided], np.uint32))
        for name, pair in zip(divided, sums.tolist(), strict=True):
            hashes[name][2] = pair
    return hashes


def tree_digest(tree: Any) -> str:
    """SHA-256 digest of the names and checksums of a tree of arrays, in hexadecimal. Every host must call this."""
    return digest(hash_arrays({"arrays": tree}))


def verify(items: Mapping[str, Any], hashes: Hashes) -> None:
    """Raise Damaged unless the trees `items` hold the hashed arrays. Every host must call this."""
    actual = hash_arrays(items)
    damaged = sorted(name for name in actual if actual[name] != hashes.get(name))
    # Each host reads for itself, and all hosts must take the same decision.
    if hosts.elementwise_max(np.asarray(len(damaged))):
        more = f" and {len(damaged) - 1} more are" if len(damaged) > 1 else " is"
        raise Damaged(f"{damaged[0]}{more} not what was saved" if damaged else "another host read other values")


def array_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{'score/conv_in/kernel': (3, 3, 3, 128), ...}."""
    return {name: tuple(np.shape(leaf)) for name, leaf in _named(tree)}


def _named(tree: Any) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in paths]


def _is_divided(array: jax.Array | np.ndarray) -> bool:
    return isinstance(array, jax.Array) and not array.is_fully_replicated


def _sum(pairs: Iterable[np.ndarray]) -> np.ndarray:
    return sum(pairs, np.zeros(2, np.uint32))


def _start(array: jax.Array | np.ndarray) -> list[Callable[[], np.ndarray]]:
    """Functions that return checksums [2] of parts of an array; of a replicated one, those of this host's copy."""
    if not isinstance(array, jax.Array):
        return [_start_part(array, [slice(None)] * array.ndim, array.shape)]
    shards = array.addressable_shards
    ours = [shard for shard in shards if shard.replica_id == 0] if _is_divided(array) else shards[:1]
    return [_start_part(shard.data, shard.index, array.shape) for shard in ours]


def _start_part(
    part: jax.Array | np.ndarray, index: Sequence[slice], shape: tuple[int, ...]
) -> Callable[[], np.ndarray]:
    runs = runs_of(index, shape)
    if isinstance(part, jax.Array) and next(iter(part.devices())).platform != "cpu":
        return partial(np.asarray, checksum_on_device(part, runs))
    # A view of an array keeps its values, also while a step that was given the array replaces it.
    return partial(_checksum_by_blocks, np.asarray(part).reshape(-1), runs)


def _checksum_by_blocks(values: np.ndarray, runs: tuple[np.uint32, ...] | None) -> np.ndarray:
    """The checksum [2] of values [n] from those of blocks, which fit into a cache; numpy compiles nothing."""
    starts = range(0, len(values), BLOCK)
    return _sum(checksum(np, values[i : i + BLOCK], np.uint32(i), runs) for i in starts)


def runs_of(index: Sequence[slice], shape: tuple[int, ...]) -> tuple[np.uint32, ...] | None:
    """Places of a part of an array, one axis of which is divided: length and distance of runs, and the first place.

    None for the whole array.
    """
    for axis, (part, size) in enumerate(zip(index, shape, strict=True)):
        start, stop, _ = part.indices(size)
        if stop - start < size:
            each = math.prod(shape[axis + 1 :])
            return tuple(np.uint32(number * each % 2**32) for number in (stop - start, size, start))
    return None


def checksum(xp: Any, values: Any, first: Any, runs: tuple[Any, ...] | None) -> Any:
    """Checksum [2] of values [n] of a part of an array, from number `first` on; `xp`: numpy or jax.numpy."""
    places = xp.arange(len(values), dtype=xp.uint32) + first
    if runs is not None:
        length, distance, start = runs
        places = start + places // length * distance + places % length
    bits = values.view(f"uint{8 * values.dtype.itemsize}").astype(xp.uint32)
    terms = _mix(bits ^ places * np.uint32(0x9E3779B1))
    return xp.stack([terms.sum(dtype=xp.uint32), _mix(terms).sum(dtype=xp.uint32)])


@jax.jit
def checksum_on_device(part: jax.Array, runs: tuple[Any, ...] | None) -> jax.Array:
    """The checksum [2] of a part of an array where it lies."""
    return checksum(jnp, part.reshape(-1), np.uint32(0), runs)


def _mix(i: Any) -> Any:
    """A bijection of 32-bit numbers, under which a change of any bit changes others throughout."""
    i = (i ^ (i >> 16)) * np.uint32(0x7FEB352D)
    return i ^ (i >> 15)


def digest(value: Any) -> str:
    """SHA-256 digest of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

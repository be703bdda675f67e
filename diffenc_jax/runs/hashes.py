"""Checksums of a checkpoint's arrays, which prove that the restored values are the saved ones.

A checksum is the pair of sums Σ t_p and Σ u_p modulo 2^32 over all places p of an array, where x_p are the bits of a
value, t_p = mix(x_p ⊕ c p) and u_p = mix(t_p), with an odd c and a bijection mix. So it is the same however the array
is divided over devices: each host sums its own parts, and none sees the whole. A change of one value is found for
certain, any other change but for a chance of 2^-64; nobody is kept from forging one.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.errors import RunError
from diffenc_jax.parallel import hosts

# {'ema/score/conv_in/kernel': ['float32', [3, 3, 3, 128], checksum in hexadecimal], ...}
Hashes = dict[str, list]
BLOCK = 2**16  # values whose checksum CPUs take at once


class Damaged(RunError):
    """A checkpoint, or a part of it, is not what was saved; the text says which part."""


def hash_arrays(items: Mapping[str, Any]) -> Hashes:
    """Checksums of all arrays of the trees `items`. Every host must call this."""
    named = _named(items)
    started = [_checksums(leaf) for _, leaf in named]  # on accelerators, all before the first is waited for
    sums = np.array([sum(map(np.asarray, parts), np.zeros(2, np.uint32)) for parts in started])
    divided = [isinstance(leaf, jax.Array) and not leaf.is_fully_replicated for _, leaf in named]
    if any(divided):
        sums[divided] = hosts.total(sums[divided])
    return {
        name: [leaf.dtype.name, list(leaf.shape), f"{first:08x}{second:08x}"]
        for (name, leaf), (first, second) in zip(named, sums.tolist(), strict=True)
    }


def tree_digest(tree: Any) -> str:
    """SHA-256 digest of the names and checksums of a tree of arrays, in hexadecimal. Every host must call this."""
    return _digest(hash_arrays({"arrays": tree}))


class Stamp(NamedTuple):
    """Identity of a checkpoint: the step, and the digest of the run's configuration (`Config.hash`)."""

    step: int
    run: str


def seal(hashes: Hashes, stamp: Stamp) -> dict[str, Any]:
    """JSON value of `hashes` and `stamp` with a hash over them, which tells damaged hashes from damaged arrays."""
    content = {"arrays": hashes, **stamp._asdict()}
    return content | {"sha256": _digest(content)}


def unseal(content: Any, stamp: Stamp) -> Hashes:
    """The hashes in what `seal` returned; raises Damaged if it is something else, or of another stamp."""
    content = dict(content) if isinstance(content, dict) else {}
    if content.pop("sha256", None) != _digest(content) or "arrays" not in content:
        raise Damaged("its list of hashes is not what was saved")
    theirs = Stamp(content["step"], content["run"])
    if theirs.run != stamp.run:
        raise Damaged(f"it is of another configuration than config.json has ({theirs.run} in place of {stamp.run})")
    if theirs.step != stamp.step:
        raise Damaged(f"it was saved as that of step {theirs.step}")
    return content["arrays"]


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


def _checksums(array: jax.Array | np.ndarray) -> list[Any]:
    """Checksums [2] of parts of an array, to be added up over the hosts; those of a replicated one are of the whole."""
    if not isinstance(array, jax.Array):
        return _checksums_of_part(array, [slice(None)] * array.ndim, array.shape)
    shards = array.addressable_shards
    ours = shards[:1] if array.is_fully_replicated else [shard for shard in shards if shard.replica_id == 0]
    return [sums for shard in ours for sums in _checksums_of_part(shard.data, shard.index, array.shape)]


def _checksums_of_part(part: jax.Array | np.ndarray, index: Sequence[slice], shape: tuple[int, ...]) -> list[Any]:
    """Checksums of a part of an array: on CPUs of blocks of it that fit into a cache, since numpy compiles nothing."""
    runs = runs_of(index, shape)
    if isinstance(part, jax.Array) and next(iter(part.devices())).platform != "cpu":
        return [checksum_on_device(part, runs)]
    values = np.ascontiguousarray(part).reshape(-1)
    return [checksum(np, values[i : i + BLOCK], np.uint32(i), runs) for i in range(0, len(values), BLOCK)]


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


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

"""Checksums of a checkpoint's arrays, which prove that the restored values are the saved ones.

An array is a sequence of words: its values or, where these have more than 32 bits, their 32-bit pieces. Its checksum is
the pair of sums Σ t_p and Σ u_p modulo 2^32 over all places p of words x_p, where k_p = c p, t_p = mix(x_p ⊕ k_p) and
u_p = mix(t_p + k_p), with an odd c and a bijection mix. The checksum is the same however the array is divided over
devices: each host sums its own parts, and no host needs the whole array. A change of one word is always found. Any
other change is missed with a probability of at most about 2^-59. A checksum does not protect against forgery.

This probability was measured for changes of two random words. The first sum stays the same with a probability of at
most 20 2^-32, and if it does, the second stays the same with 2^-32. Exchanging x_p ⊕ k_p and x_q ⊕ k_q never changes
the first sum; therefore the second depends on p.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config.schema import json_digest
from diffenc_jax.core.errors import RunError, require
from diffenc_jax.parallel import hosts

BLOCK = 2**16  # words whose checksum CPUs take at once
# Names of dtypes with a checksum. Others have no fixed place in memory (int4) or are not numbers (JAX's typed keys).
DTYPES = re.compile(r"(bool|(u?int|b?float|complex)(8|16|32|64|128))(_\w+)?")
# {'ema/score/conv_in/kernel [3, 3, 3, 128]': checksum, ...}, each of two whole numbers below 2^32.
Hashes = dict[str, list[int]]
# Per divided axis, from the last to the first: numbers of words in a run, between two runs, and before the first run.
Runs = tuple[tuple[Any, ...], ...]


class Damaged(RunError):
    """A checkpoint, or a part of it, is not what was saved; the text says which part."""


def check_dtypes(tree: Any) -> None:
    """Raise InputError for an array of a dtype that has no checksum."""
    for name, leaf in _named(tree).items():
        dtype = leaf.dtype.name
        message = f"{name} is of dtype {dtype}, which has no checksum; keep it as numbers of 8, 16, 32 or 64 bits"
        require(DTYPES.fullmatch(dtype) is not None, message)


def own_hashes(tree: Any, copies: bool = False) -> Callable[[], Hashes]:
    """Function that returns the checksums of this host's parts of a tree of arrays; those of all hosts add up.

    Only the first host counts an array that every host holds; with `copies` every host counts it. On accelerators the
    computation starts at once, on the devices of the arrays. On CPUs the returned function computes; it may run while a
    step replaces the arrays. Raises InputError as `check_dtypes` does.
    """
    check_dtypes(tree)
    everywhere = copies or hosts.is_first()
    started = {name: _start(leaf) if everywhere or _is_divided(leaf) else [] for name, leaf in _named(tree).items()}
    return lambda: {name: _sum(part() for part in parts).tolist() for name, parts in started.items()}


def sum_of_hosts(hashes: Sequence[Hashes]) -> Hashes:
    """Checksums of whole arrays from the `own_hashes` of all hosts."""
    return {name: _sum(np.array(each[name], np.uint32) for each in hashes).tolist() for name in hashes[0]}


def hash_arrays(tree: Any) -> Hashes:
    """Checksums of all arrays of a tree. Every host must call this; each sums its own copy of an array."""
    hashes = own_hashes(tree, copies=True)()
    divided = [name for name, leaf in _named(tree).items() if _is_divided(leaf)]
    sums = hosts.total(np.array([hashes[name] for name in divided], np.uint32))
    return hashes | dict(zip(divided, sums.tolist(), strict=True))


def tree_digest(tree: Any) -> str:
    """SHA-256 digest of a tree's names, shapes and checksums, in hexadecimal. Every host must call this."""
    return json_digest(hash_arrays(tree))


def verify(tree: Any, hashes: Hashes) -> None:
    """Raise Damaged unless a tree holds the hashed arrays. Every host must call this."""
    actual = hash_arrays(tree)
    damaged = sorted(name for name in actual if actual[name] != hashes.get(name))
    # Each host reads for itself, and all hosts must take the same decision.
    if hosts.elementwise_max(np.asarray(len(damaged))):
        more = f" and {len(damaged) - 1} more are" if len(damaged) > 1 else " is"
        raise Damaged(f"{damaged[0]}{more} not what was saved" if damaged else "another host read other values")


def array_shapes(tree: Any) -> set[str]:
    """Names of a tree's arrays with their shapes, such as 'score/conv_in/kernel [3, 3, 3, 128]'."""
    return set(_named(tree))


def _named(tree: Any) -> dict[str, Any]:
    name = partial(jax.tree_util.keystr, simple=True, separator="/")
    return {f"{name(path)} {list(np.shape(leaf))}": leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _is_divided(array: jax.Array | np.ndarray) -> bool:
    return isinstance(array, jax.Array) and not array.is_fully_replicated


def _sum(pairs: Iterable[np.ndarray]) -> np.ndarray:
    return sum(pairs, np.zeros(2, np.uint32))


def _start(array: jax.Array | np.ndarray) -> list[Callable[[], np.ndarray]]:
    """Functions that return checksums [2] of parts of an array; for a replicated array, of this host's copy."""
    if not isinstance(array, jax.Array):
        return [partial(_checksum_by_blocks, array, ())]
    shards = array.addressable_shards
    ours = [shard for shard in shards if shard.replica_id == 0] if _is_divided(array) else shards[:1]
    parts = [(shard.data, runs_of(shard.index, array)) for shard in ours]
    if next(iter(array.devices())).platform != "cpu":
        return [partial(np.asarray, checksum_on_device(*part)) for part in parts]
    # A numpy view of an array keeps its values even if a step, which was given the array, replaces it.
    return [partial(_checksum_by_blocks, np.asarray(part), runs) for part, runs in parts]


def _checksum_by_blocks(part: np.ndarray, runs: Runs) -> np.ndarray:
    """The checksum [2] of a part of an array from those of blocks, which fit into a cache; numpy compiles nothing."""
    words = words_of(part)
    return _sum(checksum(np, words[i : i + BLOCK], np.uint32(i), runs) for i in range(0, len(words), BLOCK))


@jax.jit
def checksum_on_device(part: jax.Array, runs: Runs) -> jax.Array:
    """The checksum [2] of a part of an array where it lies."""
    return checksum(jnp, words_of(part), np.uint32(0), runs)


def words_of(part: Any) -> Any:
    """The words [n] of a part of an array, which keep their size if they have fewer than 32 bits."""
    return part.reshape(-1).view(f"uint{8 * min(part.dtype.itemsize, 4)}")


def runs_of(index: Sequence[slice], array: Any) -> Runs:
    """Places of the words of a part `array[index]` in those of the array."""
    runs, each = [], max(1, array.dtype.itemsize // 4)
    for part, size in reversed(list(zip(index, array.shape, strict=True))):
        start, stop, _ = part.indices(size)
        if stop - start < size:
            counts = (stop - start, size - stop + start, start)
            runs.append(tuple(np.uint32(count * each % 2**32) for count in counts))
        each *= size
    return tuple(runs)


def checksum(xp: Any, words: Any, first: Any, runs: Runs) -> Any:
    """Checksum [2] of words [n] of a part of an array, from number `first` on; `xp`: numpy or jax.numpy."""
    places = xp.arange(len(words), dtype=xp.uint32) + first
    for length, gap, start in runs:
        places += places // length * gap + start
    return xp.stack([term.sum(dtype=xp.uint32) for term in terms(words, places)])


def terms(words: Any, places: Any) -> tuple[Any, Any]:
    """The terms (t, u) of words at their places, uint32 [n] each."""
    keys = places * np.uint32(0x9E3779B1)
    t = _mix(words.astype(np.uint32, copy=False) ^ keys)
    return t, _mix(t + keys)


def _mix(i: Any) -> Any:
    """A bijection of 32-bit numbers, each bit of which changes every other with a chance of a half ("lowbias32").

    It overwrites a numpy array, which is faster than allocating new arrays.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        i ^= i >> shift
        i *= np.uint32(factor)
    return i ^ (i >> 16)

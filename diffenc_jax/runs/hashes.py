"""Content hashes of a checkpoint's arrays, which prove that the restored values are the saved ones."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from diffenc_jax.core.errors import RunError
from diffenc_jax.parallel import hosts

# {'ema/score/conv_in/kernel': ['float32', [3, 3, 3, 128], SHA-256 in hexadecimal], ...}
Hashes = dict[str, list]


class Damaged(RunError):
    """A checkpoint, or a part of it, is not what was saved; the text says which part."""


def hash_arrays(items: Mapping[str, Any]) -> Hashes:
    """Hashes of all arrays of the trees `items`. Every host must call this."""
    return {name: [leaf.dtype.name, list(leaf.shape), _sha256(leaf)] for name, leaf in _named(items)}


def seal(hashes: Hashes) -> dict[str, Any]:
    """JSON value of `hashes` with a hash over all of them, which tells damaged hashes from damaged arrays."""
    return {"arrays": hashes, "sha256": _digest(hashes)}


def unseal(content: Any) -> Hashes:
    """Inverse of `seal`; raises Damaged if `content` is not what `seal` returned."""
    hashes = content.get("arrays") if isinstance(content, dict) else None
    if hashes is None or content.get("sha256") != _digest(hashes):
        raise Damaged("its list of hashes is not what was saved")
    return hashes


def verify(items: Mapping[str, Any], hashes: Hashes) -> None:
    """Raise Damaged unless the trees `items` hold the hashed arrays. Every host must call this."""
    found = hash_arrays(items)
    damaged = sorted(name for name in found if found[name] != hashes.get(name))
    # Each host reads for itself, and all hosts must take the same decision.
    if hosts.elementwise_max(np.asarray(len(damaged))):
        more = f" and {len(damaged) - 1} more are" if len(damaged) > 1 else " is"
        raise Damaged(f"{damaged[0]}{more} not what was saved" if damaged else "another host read other values")


def array_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{'score/conv_in/kernel': (3, 3, 3, 128), ...}."""
    return {name: tuple(leaf.shape) for name, leaf in _named(tree)}


def _named(tree: Any) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in paths]


def _sha256(array: jax.Array | np.ndarray) -> str:
    if isinstance(array, jax.Array):
        array = array.addressable_data(0) if array.is_fully_replicated else hosts.all_gather(array)
    values = np.ascontiguousarray(array).reshape(-1)  # a scalar has no view as bytes
    return hashlib.sha256(values.view(np.uint8)).hexdigest()


def _digest(hashes: Any) -> str:
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()

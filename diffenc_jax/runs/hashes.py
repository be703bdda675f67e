"""Content hashes of a checkpoint's arrays, which prove that the restored values are the saved ones."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

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


def tree_digest(tree: Any) -> str:
    """SHA-256 digest of a tree of arrays with their names, in hexadecimal digits. Every host must call this."""
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


def _sha256(array: jax.Array | np.ndarray) -> str:
    if isinstance(array, jax.Array):
        array = array.addressable_data(0) if array.is_fully_replicated else hosts.all_gather(array)
    values = np.ascontiguousarray(array).reshape(-1)  # a scalar has no view as bytes
    return hashlib.sha256(values.view(np.uint8).data).hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

"""Content hashes: what a checkpoint says of its arrays, so that what is read back is what was written."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from diffenc_jax import hosts
from diffenc_jax.errors import RunError

# {'ema/score/conv_in/kernel': ['float32', [3, 3, 3, 128], SHA-256 in hexadecimal], ...}
Hashes = dict[str, list]


class Damaged(RunError):
    """A checkpoint, or a part of it, is not what was saved; its text says which part."""


def of(items: Mapping[str, Any]) -> Hashes:
    """Of every array of the trees `items`, wherever its parts lie. All hosts must ask."""
    return {name: [leaf.dtype.name, list(leaf.shape), _sha256(leaf)] for name, leaf in _named(items)}


def sealed(hashes: Hashes) -> dict[str, Any]:
    """JSON's values, with a hash over all, so that damage to them is not taken for damage to what they are of."""
    return {"arrays": hashes, "sha256": _seal(hashes)}


def opened(content: Any) -> Hashes:
    """The reverse of `sealed`.

    Raises:
      Damaged: `content` is not what was sealed.
    """
    hashes = content.get("arrays") if isinstance(content, dict) else None
    if hashes is None or content.get("sha256") != _seal(hashes):
        raise Damaged("its list of hashes is not what was written")
    return hashes


def verify(items: Mapping[str, Any], hashes: Hashes) -> None:
    """Raises Damaged unless the trees `items` hold the arrays that `hashes` were taken of. All hosts must ask."""
    found = of(items)
    wrong = sorted(name for name in found if found[name] != hashes.get(name))
    # Each host reads for itself, and all must turn the same way.
    if hosts.largest(np.asarray(len(wrong))):
        more = f" and {len(wrong) - 1} more are" if len(wrong) > 1 else " is"
        raise Damaged(f"{wrong[0]}{more} not what was saved" if wrong else "another host read what was not saved")


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{'score/conv_in/kernel': (3, 3, 3, 128), ...}."""
    return {name: tuple(leaf.shape) for name, leaf in _named(tree)}


def _named(tree: Any) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in paths]


def _sha256(array: jax.Array | np.ndarray) -> str:
    if isinstance(array, jax.Array):
        array = array.addressable_data(0) if array.is_fully_replicated else hosts.whole(array)
    values = np.ascontiguousarray(array).reshape(-1)  # of a scalar too, whose bytes cannot be had otherwise
    return hashlib.sha256(values.view(np.uint8)).hexdigest()


def _seal(hashes: Any) -> str:
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()

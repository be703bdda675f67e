"""Names of the published code's parameters, and their locations in our trees.

The published trees name every block. Our trees stack the equal blocks of the score network along a leading axis
(`nets.blocks.Chain`). Names are '/'-joined paths. There are two families of files: files of DiffEnc's code
(bemigini/DiffEnc), and files of VDM's code (google-research/vdm). In the latter, the parts of the score network are
directly under 'score_model'.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from diffenc_jax.diffusion.schedules import inverse_softplus

# The kinds of encoder that published models have.
ENCODERS = ("identity", "nontrainable", "trainable")
# Our names of the parts inside a block and inside its attention, and the published ones.
_INSIDE = {
    "norm_0": "GroupNorm_0",
    "norm_1": "GroupNorm_1",
    "conv_0": "conv1",
    "conv_1": "conv2",
    "cond": "cond_proj",
    "shortcut": "nin_shortcut",
    **{"norm": "GroupNorm_0", "query": "q", "key": "k", "value": "v", "out": "proj_out"},
}
_TIME = {"dense_0": "dense0", "dense_1": "dense1"}
_ENDS = {"conv_in": "conv_in", "conv_out": "conv_out", "norm_out": "GroupNorm_0"}
_MIDDLE = {"mid_0": "mid.block_1", "mid_1": "mid.block_2", "attention": "mid.attn_1"}
_POOLED_MIDDLE = {"mid_0": "mid_resnet_1", "mid_1": "mid_resnet_2", "attention": "mid_attn_1"}
# Our schedules' parameters, numbers or vectors: published name and shape, in which -1 is the length of ours.
_SCHEDULE = {
    "w": ("gamma/w", (-1,)),
    "b": ("gamma/b", (-1,)),
    "gamma_0": ("gamma/l1/bias", (-1,)),  # h's constant, until `_end_points` makes γ_0 of it
    "network/linear": ("gamma/l1/kernel", (1, -1)),
    "network/kernel": ("gamma/l2/kernel", (1, -1)),
    "network/bias": ("gamma/l2/bias", (-1,)),
    "network/out": ("gamma/l3/kernel", (-1, 1)),
}


class ArrayLocation(NamedTuple):
    """Location of a published parameter in our tree.

    Attributes:
      path: keys from the root of the tree to a leaf.
      leaf: shape of the leaf.
      row: row of the leaf that holds the parameter; `...` for the whole leaf.
      shape: published shape.
    """

    path: tuple[str, ...]
    leaf: tuple[int, ...]
    row: int | EllipsisType
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Dialect:
    """Naming in a file: `bare` names as in google-research/vdm, `numbered` blocks as in 'unet_mult_res'."""

    bare: bool
    numbered: bool

    @classmethod
    def of(cls, names: Collection[str]) -> "Dialect":
        """The dialect of a file with parameters `names`."""
        bare = any(name.startswith(("score_model/dense0/", "score_model/down.block_0/")) for name in names)
        return cls(bare, any(re.search(r"_resnet_block\d+/", name) for name in names))


def locations(shapes: Mapping[str, Any], dialect: Dialect) -> dict[str, ArrayLocation]:
    """Locations of all parameters that a published model of the same architecture has, by their published names.

    Args:
      shapes: our parameters, or arrays of their shapes.
      dialect: the dialect of the file.
    """
    found: dict[str, ArrayLocation] = {}
    for path, leaf in flatten_dict(shapes).items():
        part, *inside, name = path
        if part == "schedule":
            found |= _in_schedule(path, leaf.shape)
            continue
        levels = sum(key.startswith("unpool_") for key in shapes[part])
        stacked = "blocks" in inside
        for row in range(leaf.shape[0]) if stacked else [...]:
            module = _module(part, inside, row, levels, dialect)
            found[f"{module}/{name}"] = ArrayLocation(path, leaf.shape, row, leaf.shape[int(stacked) :])
    return found


def _module(part: str, inside: list[str], row: int | EllipsisType, levels: int, dialect: Dialect) -> str:
    """Published name of the module at `inside` in our network `part`, which pools `levels` times."""
    if part == "encoder":
        root, time, body = "encdec/inner_encoder", "time_embedding/", "enc_model/"
    else:
        root, time, body = "score_model", "TimeEmbedding_0/", "UNet_0/" if levels else "VDMUNet_0/"
        time, body = ("", "") if dialect.bare else (time, body)
    middle = _POOLED_MIDDLE if levels else _MIDDLE
    match inside:
        case ["time", dense]:
            return f"{root}/{time}{_TIME[dense]}"
        case [way, "blocks", "attention", inner]:
            return f"{root}/{body}{way}.attn_{row}/{_INSIDE[inner]}"
        case [way, "blocks", inner]:
            return f"{root}/{body}{way}.block_{row}/{_INSIDE[inner]}"
        case ["mid_0" | "mid_1" | "attention" as block, inner]:
            return f"{root}/{body}{middle[block]}/{_INSIDE[inner]}"
        case [block, inner]:
            way, level, number = block.split("_")
            at = int(level) if way == "down" else levels - 1 - int(level)  # up-blocks count from the coarsest
            number = number if dialect.numbered else ""
            return f"{root}/{body}{way}_blocks_{at}/{way}_{level}_resnet_block{number}/{_INSIDE[inner]}"
        case [end] if end in _ENDS:
            return f"{root}/{_ENDS[end]}"
        case _:
            level = inside[0].removeprefix("unpool_")
            return f"{root}/{body}up_blocks_{levels - 1 - int(level)}/conv_trans"


def _in_schedule(path: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, ArrayLocation]:
    """Locations of a schedule's parameter."""
    inside = "/".join(path[1:])
    if inside == "span":  # h(1) - h(0) in the published network, no parameter of its own
        return {}
    name, published = _SCHEDULE[inside]
    return {name: ArrayLocation(path, shape, ..., np.empty(shape).reshape(published).shape)}


def to_ours(published: Mapping[str, np.ndarray], locations: Mapping[str, ArrayLocation]) -> dict[str, Any]:
    """Our parameters in float32, from the published parameters that `locations` names."""
    leaves: dict[tuple[str, ...], np.ndarray] = {}
    for name, at in locations.items():
        leaf = leaves.setdefault(at.path, np.empty(at.leaf, np.float32))
        leaf[at.row] = published[name].reshape(leaf[at.row].shape)
    tree = {"schedule": {}} | unflatten_dict(leaves)
    if "network" in tree["schedule"]:
        tree["schedule"] |= _end_points(**tree["schedule"])
    return tree


def _end_points(network: Mapping[str, np.ndarray], gamma_0: np.ndarray) -> dict[str, np.floating]:
    """γ_0 and the span for which our γ(t) equals h(t), the published network with the constant `gamma_0`.

    h(t) = constant + |a| t + (1/n) Σ_j |c_j| (2 sigmoid(|k_j| (2 t - 1) + b_j) - 1), in float64.
    """
    a, k, b, c = (np.asarray(network[name], np.float64) for name in ("linear", "kernel", "bias", "out"))

    def h(t):
        return gamma_0 + np.abs(a) * t + np.mean(np.abs(c) * np.tanh(0.5 * (np.abs(k) * (2 * t - 1) + b)))

    first = np.float32(h(0.0))
    return {"gamma_0": first, "span": np.float32(inverse_softplus(float(h(1.0) - first)))}


def from_ours(tree: Any, at: ArrayLocation) -> Any:
    """The value at a location of a tree like our parameters, in the published shape."""
    for key in at.path:
        tree = tree[key]
    return tree[at.row].reshape(at.shape)

"""Parameters of the published DiffEnc code, by their names, as ours.

The published trees name every block; ours stack the score network's alike blocks along a
leading axis (`nets.blocks.Chain`). Names here are '/'-joined paths.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffenc_jax.config import encoder_network, recipe, require, score_network, with_changes
from diffenc_jax.errors import lookup

_BLOCK = {
    "GroupNorm_0": "norm_0",
    "GroupNorm_1": "norm_1",
    "conv1": "conv_0",
    "conv2": "conv_1",
    "cond_proj": "cond",
    "nin_shortcut": "shortcut",
}
_ATTENTION = {"GroupNorm_0": "norm", "q": "query", "k": "key", "v": "value", "proj_out": "out"}
_TIME = {"dense0": "dense_0", "dense1": "dense_1"}
_ENDS = {"conv_in": "conv_in", "conv_out": "conv_out", "GroupNorm_0": "norm_out"}

# published prefix -> (our prefix, names of the parts inside); {0}, {1} are the prefix's numbers.
_PREFIXES = [
    (r"score_model/TimeEmbedding_0", "score/time", _TIME),
    (r"score_model/VDMUNet_0/down\.block_(\d+)", "score/down/blocks[{0}]", _BLOCK),
    (r"score_model/VDMUNet_0/up\.block_(\d+)", "score/up/blocks[{0}]", _BLOCK),
    (r"score_model/VDMUNet_0/mid\.block_1", "score/mid_0", _BLOCK),
    (r"score_model/VDMUNet_0/mid\.block_2", "score/mid_1", _BLOCK),
    (r"score_model/VDMUNet_0/mid\.attn_1", "score/attention", _ATTENTION),
    (r"score_model", "score", _ENDS),
    (r"encdec/inner_encoder/time_embedding", "encoder/time", _TIME),
    (r"encdec/inner_encoder/enc_model/down_blocks_\d+/down_(\d+)_resnet_block(\d*)", "encoder/down_{0}_{1}", _BLOCK),
    (r"encdec/inner_encoder/enc_model/up_blocks_\d+/up_(\d+)_resnet_block(\d*)", "encoder/up_{0}_{1}", _BLOCK),
    (r"encdec/inner_encoder/enc_model/mid_resnet_1", "encoder/mid_0", _BLOCK),
    (r"encdec/inner_encoder/enc_model/mid_resnet_2", "encoder/mid_1", _BLOCK),
    (r"encdec/inner_encoder/enc_model/mid_attn_1", "encoder/attention", _ATTENTION),
    (r"encdec/inner_encoder", "encoder", _ENDS),
]
_UNPOOL = re.compile(r"encdec/inner_encoder/enc_model/up_blocks_(\d+)/conv_trans/(kernel|bias)")


_KINDS = {"VDM2_V": "identity", "S4V_NT": "nontrainable", "S3VA": "trainable"}
_SCHEDULES = {"fixed": "fixed_linear", "train_scalar": "learned_linear"}
_OUTER_GROUPS = 32  # of all norms of the published encoders but the middle's and the last


def configuration(meta: Mapping[str, Any]) -> ConfigDict:
    """Our configuration of a published model, from its own description (`meta` of a reference file).

    Raises:
      InputError: it is of a kind that is not known here.
    """
    height = meta["shape"][0]
    score, encoder = meta["score"], meta["encoder"]
    groups = dict.fromkeys(("groups", "mid_groups", "out_groups"), score["groups"])
    bins = tuple(meta["vocab_size"] / 2 ** (k + 1) for k in score["fourier"])
    network = dict(width=score["n_embd"], layers=score["n_layer"], dropout=score["p_dropout"])
    changes = {
        "data.levels": meta["vocab_size"],
        "model.score": score_network(fourier_bins=bins, **network, **groups),
        "model.encoder": ConfigDict({"kind": lookup("published model type", meta["ddpm_type"], _KINDS)}),
        "model.schedule": ConfigDict(
            {
                "kind": lookup("published schedule", meta["gamma_type"], _SCHEDULES),
                "gamma_min": meta["gamma_min"],
                "gamma_max": meta["gamma_max"],
            }
        ),
    }
    if encoder is not None:
        changes["model.encoder"] = _encoder(encoder, height)
    return with_changes(recipe("published", meta["ddpm_type"]), changes)


def _encoder(meta: Mapping[str, Any], height: int) -> ConfigDict:
    """The encoder network: 'unet' pools once a layer, 'unet_mult_res' until the image is odd or small."""
    require(
        bool(meta["tanh"] and meta["pooling"]) and meta["channel_scaling"] == "double",
        "a published encoder without tanh, pooling or doubled channels is not known here",
    )
    lookup("published encoder", meta["m_type"], {"unet": None, "unet_mult_res": None})
    layers, groups = meta["n_layer"], meta["groups"]
    levels, mid_groups = layers, groups
    if meta["m_type"] == "unet_mult_res":
        levels, mid_groups = 1, _OUTER_GROUPS
        while (height >> levels) % 2 == 0 and height >> levels > 8:
            levels += 1
    shape = dict(width=meta["n_embd"], layers=layers, levels=levels)
    return encoder_network(**shape, groups=_OUTER_GROUPS, mid_groups=mid_groups, out_groups=groups)


def our_name(name: str, levels: int) -> str:
    """The path in our tree of the published parameter `name`; 'blocks[i]' is row i of a stack.

    Args:
      name: such as 'score_model/VDMUNet_0/down.block_0/conv1/kernel'.
      levels: of the encoder network, whose published up-blocks count from the coarsest.

    Raises:
      KeyError: the published code has no such parameter.
    """
    if name in ("gamma/w", "gamma/b"):
        return name.replace("gamma", "schedule")
    if match := _UNPOOL.fullmatch(name):
        return f"encoder/unpool_{levels - 1 - int(match[1])}/{match[2]}"
    for pattern, ours, parts in _PREFIXES:
        match = re.fullmatch(rf"{pattern}/(\w+)/(kernel|bias|scale)", name)
        if match and match[match.lastindex - 1] in parts:
            *numbers, part, leaf = match.groups()
            prefix = ours.format(*(number or "0" for number in numbers))
            return re.sub(r"blocks\[(\d+)\]", r"blocks/\1", f"{prefix}/{parts[part]}/{leaf}")
    raise KeyError(name)


def to_ours(published: Mapping[str, np.ndarray], levels: int) -> dict[str, Any]:
    """Our nested parameters from published ones (or gradients) by name; see `our_name`."""
    stacks: dict[tuple[str, ...], dict[int, np.ndarray]] = {}
    tree: dict[str, Any] = {"schedule": {}}
    for name, value in published.items():
        path = our_name(name, levels).split("/")
        if "blocks" in path:
            at = path.index("blocks") + 1
            stacks.setdefault((*path[:at], *path[at + 1 :]), {})[int(path[at])] = value
        else:
            _insert(tree, path, value.reshape(()) if path[0] == "schedule" else value)
    for path, rows in stacks.items():
        _insert(tree, path, np.stack([rows[i] for i in range(len(rows))]))
    return tree


def from_ours(tree: Mapping[str, Any], name: str, levels: int) -> Any:
    """What `tree`, of the form of our parameters, holds for the published parameter `name`."""
    path, row = our_name(name, levels).split("/"), None
    if "blocks" in path:
        row = int(path.pop(path.index("blocks") + 1))
    for key in path:
        tree = tree[key]
    return tree if row is None else tree[row]


def _insert(tree: dict[str, Any], path, value) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value

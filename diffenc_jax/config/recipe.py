"""The recipe as an ml_collections ConfigDict, its deviations from the published one, and changes of configurations."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from diffenc_jax.config.config import Config
from diffenc_jax.config.schema import Section, sections_of
from diffenc_jax.core.errors import lookup, require
from diffenc_jax.core.keys import REQUIRED, keys_of

IDENTITY = ConfigDict({"kind": "identity"})
NONTRAINABLE = ConfigDict({"kind": "nontrainable"})
LEVELS = ConfigDict({"kind": "levels"})
# The published optimizer, and the published noise schedule, linear in t.
ADAMW = ConfigDict({"kind": "adamw", "b1": 0.9, "b2": 0.99, "epsilon": 1e-8, "weight_decay": 0.01})
MUON = ConfigDict({**ADAMW, "kind": "muon", "momentum": 0.9})
FIXED_LINEAR = ConfigDict({"kind": "fixed_linear", "gamma_min": None, "gamma_max": 5.0})
# The three compared models, as changes of a recipe.
ARMS = {"diffenc": {}, "nontrainable": {"model.encoder": NONTRAINABLE}, "vdm": {"model.encoder": IDENTITY}}
# Suffixes of an arm, the last first: -T<depth> for training at this depth, -published and -fast for other recipes,
# -pooled for another shape of the score network.
DEPTH, PUBLISHED, FAST, POOLED = "-T", "-published", "-fast", "-pooled"

# Changes of a recipe that undo its deviations from the published training; docs/training.md lists all deviations.
AS_PUBLISHED = {"train.endpoint_interval": 1, "data.shuffle_shards": 1}

# Changes of the fast recipe, besides fewer steps; docs/training.md says when to take it.
FAST_RECIPE = {
    "train.optimizer": MUON,
    "train.learning_rate": 0.02,
    "train.learning_rate_schedule": "linear",
    "train.time_sampling": "importance",
    "train.ema_decay": 0.9999,
    "train.ema_warmup": True,
}


def score_network(**changes: Any) -> ConfigDict:
    """The published score network of CIFAR-10: a U-Net of width 128 with 32 layers and no pooling."""
    network = dict(kind="unet", width=128, layers=32, levels=0, groups=32, mid_groups=32, out_groups=32)
    return ConfigDict({**network, "dropout": 0.1, "fourier_bins": (2.0, 1.0), "attention": False, **changes})


def score_transformer(**changes: Any) -> ConfigDict:
    """A transformer as score network, with skip connections, of as many parameters as CIFAR-10's 8-layer U-Net."""
    network = dict(kind="transformer", patch=2, width=160, layers=9, heads=5, dropout=0.1)
    return ConfigDict({**network, "fourier_bins": (2.0, 1.0), "skip_connections": True, **changes})


def encoder_network(**changes: Any) -> ConfigDict:
    """The published encoder network of the large models: a U-Net of width 64 with 4 layers on 2 levels."""
    network = dict(kind="trainable", width=64, layers=4, levels=2, out_groups=16, fourier_bins=())
    return score_network(**{**network, **changes})


def transformer_network(**changes: Any) -> ConfigDict:
    """A transformer as encoder network, with the parameters of `encoder_network` and two fifths of its FLOPs."""
    network = dict(width=128, layers=4, heads=4, fourier_bins=(), skip_connections=False)
    return score_transformer(**{**network, **changes})


def dct_network(**changes: Any) -> ConfigDict:
    """An encoder network that is linear in the image: a gain and an offset per frequency."""
    return ConfigDict({"kind": "dct", "width": 32, **changes})


def forward_processes(encoder: ConfigDict, code: ConfigDict) -> dict[str, dict[str, Any]]:
    """Arms with other forward processes.

    Args:
      encoder: encoder of 'diffenc-affine', which scales the noise as well; see `encoders.Affine`.
      code: latent code of 'vdm-mulan' and 'vdm-code'.
    """
    polynomial = {**ARMS["vdm"], "model.schedule.kind": "polynomial"}
    return {
        "diffenc-image": {"model.target": "image"},
        "diffenc-affine": {"model.encoder": ConfigDict({**encoder, "reach": 0.25}), "model.target": "image"},
        "vdm-polynomial": polynomial,
        "vdm-mulan": {**polynomial, "model.code": code},
        "vdm-code": {**ARMS["vdm"], "model.code": code},
    }


def code_network(units: int, active: int, **changes: Any) -> ConfigDict:
    """A latent code of `units` units, of which `active` are 1, with a network like the encoder's."""
    return ConfigDict({**encoder_network(**changes), "kind": "k_hot", "units": units, "active": active})


def recipe(name: str, arm: str) -> ConfigDict:
    """The base of every configuration: DiffEnc-32-4 on CIFAR-10 (arXiv 2310.19789).

    docs/training.md lists the deviations from the publication.
    """
    config = _defaults(Config)
    given = {"name": name, "arm": arm, "data.source": name}
    networks = {"model.score": score_network(), "model.encoder": encoder_network(), "model.code": {"kind": "none"}}
    parts = {"model.decoder": LEVELS, "model.schedule": FIXED_LINEAR, "train.optimizer": ADAMW}
    return with_changes(config, given | networks | parts)


def _defaults(section: type[Section]) -> ConfigDict:
    """The defaults of a section, without keys that have none; `Config` checks their types."""
    given = {name: key.default for name, key in keys_of(section).items() if key.default is not REQUIRED}
    nested = {name: _defaults(other) for name, other in sections_of(section).items()}
    return ConfigDict(given | nested, type_safe=False)


def with_changes(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """Replace values or whole sections, given by keys such as 'model.encoder'; returns `config`."""
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        # A copy, so that a change of one configuration does not reach others with the same section.
        (config[section] if section else config)[name] = ConfigDict(value) if isinstance(value, ConfigDict) else value
    return config


class Fast(NamedTuple):
    """Steps of '<arm>-fast', as a share of those of '<arm>', and its changes besides `FAST_RECIPE`."""

    share: float = 1 / 3
    changes: Mapping[str, Any] = {}


A_THIRD = Fast()


def choose_arm(config: ConfigDict, arms: Mapping[str, Mapping[str, Any]], fast: Fast = A_THIRD) -> ConfigDict:
    """Apply the changes of the arm `config.arm` (see `with_changes`), whose name may have suffixes.

    '<arm>-published' undoes deviations from the published training (see `AS_PUBLISHED`). '<arm>-fast' trains by
    `FAST_RECIPE` in fewer steps. '<arm>-pooled' has a score network by `pooled`; '<arm>-pooled-fast' is trained fast.
    '<arm>-T<depth>' sets `loss.depth`: 'diffenc-T10' is 'diffenc' trained with 10 steps. An arm with the FLOPs of
    another arm's training (`train.flops_of`) then has the FLOPs of that arm with the same suffixes.

    Raises InputError if there is no such arm, if its score network cannot be pooled, or if no depth follows '-T'.

    Args:
      fast: what '<arm>-fast' has of its own in this configuration.
    """
    has_depth = DEPTH in config.arm and config.arm not in arms
    stem, at, depth = config.arm.rpartition(DEPTH) if has_depth else (config.arm, "", "")
    name, given = stem, [""]
    for suffixes in ((PUBLISHED, FAST), (POOLED,)):
        suffix = "" if name in arms else next(filter(name.endswith, suffixes), "")
        name, given = name.removesuffix(suffix), [*given, suffix]
    changes = dict(lookup("arm", name, arms))
    if FAST in given:
        steps = round(fast.share * changes.get("train.steps", config.train.steps))
        changes |= {"train.steps": steps, **FAST_RECIPE, **fast.changes}
    elif PUBLISHED in given:
        changes |= AS_PUBLISHED
    if has_depth:
        is_depth = re.fullmatch("[1-9][0-9]*", depth) is not None
        require(is_depth, f"arm {config.arm!r}: {DEPTH} must be followed by one depth in steps, such as {stem}{at}10")
        changes["loss.depth"] = int(depth)
    if changes.get("train.flops_of"):
        changes["train.flops_of"] += config.arm.removeprefix(name)
    config = with_changes(config, changes)
    return with_changes(config, pooled(config)) if POOLED in given else config


def pooled(config: ConfigDict) -> dict[str, Any]:
    """Changes for a U-Net with one 2x2 pooling, two thirds of the blocks, and 1.3 times the steps.

    It is the shape of the lowest bits/dim at equal FLOPs among those of docs/results-performance.md. Its steps have less
    than half the FLOPs, so with the additional ones a training is shorter and no worse.

    Raises InputError if the score network is not a U-Net without pooling.
    """
    score, steps, arm = config.model.score, config.train.steps, config.arm
    flat = score.kind == "unet" and score.levels == 0
    require(flat, f"arm {arm!r}: {POOLED} is for model.score.kind=unet with levels=0, and pools nothing else")
    shape = {"model.score.levels": 1, "model.score.layers": max(1, round(score.layers * 2 / 3))}
    return shape | {"train.steps": round(1.3 * steps)}


def matched(arm: str, changes: Mapping[str, Any], reference: str, layers: int) -> dict[str, dict[str, Any]]:
    """Variants of a smaller arm at the cost of a larger one.

    Args:
      arm, changes: name and changes of the smaller arm.
      reference: name of the larger arm.
      layers: layers of the score network with which the smaller arm has as many parameters as the larger one.

    Returns:
      Changes of '<arm>-params' and, with the FLOPs of the larger arm's training, '<arm>-flops'.
    """
    return {
        f"{arm}-params": {**changes, "model.score.layers": layers},
        f"{arm}-flops": {**changes, "train.flops_of": reference},
    }


def equal_in_cost(
    arms: Mapping[str, Mapping[str, Any]], reference: str, layers: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Arms '<arm>-matched' with the training FLOPs and the number of parameters of a reference.

    Args:
      arms: changes by the name of an arm.
      reference: name of the arm with which the others are compared; it has the most FLOPs per step.
      layers: layers of the score network with which an arm has as many parameters as the reference.
    """
    return {
        f"{arm}-matched": {**arms[arm], "model.score.layers": number, "train.flops_of": reference}
        for arm, number in layers.items()
    }

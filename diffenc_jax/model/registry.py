"""The score networks and encoders that a configuration can name.

A network is a linen module (images [B, H, W, C], time [B], dropout key) -> [B, H, W, C] in float32. Its attributes
without default are the keys of its section of the configuration. Its attributes with default, such as `dtype`, are set
by `build`, if it has them. `check(path, shape)` raises InputError for keys that do not fit the images.

A score network also has the attributes `extra_heads`, names of its additional heads (`nets.blocks.Head`), `scan`, and
`repeated`, the name of the key that counts its alike layers or None. It takes `with_heads=True` to return the outputs
of the heads, by name, as well.

To add a network or an encoder, write a class and list it here; the contract tests cover every entry.
"""

import dataclasses
import inspect
import re
from typing import Any, NamedTuple, TypeVar, get_type_hints

import flax.linen as nn
import jax.numpy as jnp

from diffenc_jax.config.keys import Key
from diffenc_jax.config.sections import ModelConfig, NetworkConfig
from diffenc_jax.core.errors import lookup, require
from diffenc_jax.diffusion.encoders import Encoder, Identity, NonTrainable, Trainable, Unbounded
from diffenc_jax.nets.blocks import REMAT
from diffenc_jax.nets.dct import FrequencyGains
from diffenc_jax.nets.transformer import Transformer
from diffenc_jax.nets.unet import UNet

Network = TypeVar("Network", bound=nn.Module)
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class EncoderEntry(NamedTuple):
    """An encoder: how x_t is computed, and its network if it has one."""

    encoder: type[Encoder]
    network: type[nn.Module] | None = None


SCORE_NETWORKS: dict[str, Any] = {"unet": UNet, "transformer": Transformer}

ENCODERS = {
    "identity": EncoderEntry(Identity),
    "nontrainable": EncoderEntry(NonTrainable),
    "trainable": EncoderEntry(Trainable, UNet),
    "transformer": EncoderEntry(Trainable, Transformer),
    "dct": EncoderEntry(Unbounded, FrequencyGains),
}


def compute_options(config: ModelConfig, platform: str) -> dict[str, Any]:
    """Attributes that say how networks are computed: dtype, scan and remat, chosen for `platform` where left open."""
    on_cpu = platform == "cpu"
    remat = config.remat or ("none" if on_cpu else "products")
    lookup("model.remat", remat, REMAT)
    return {
        "dtype": lookup("model.dtype", config.dtype, DTYPES),
        "scan": not on_cpu if config.scan is None else config.scan,
        "remat": remat,
    }


def build_score(config: NetworkConfig, shape: tuple[int, int, int], **attributes: Any) -> nn.Module:
    """The network that `model.score` describes, for images of `shape`; raises InputError."""
    network = lookup("score network", config.kind, SCORE_NETWORKS)
    return _build_network(network, config, "model.score", shape, attributes)


def build_encoder(
    config: NetworkConfig, shape: tuple[int, int, int], **attributes: Any
) -> tuple[type[Encoder], nn.Module | None]:
    """The encoder that `model.encoder` describes and its network, for images of `shape`; raises InputError."""
    encoder, network = lookup("encoder", config.kind, ENCODERS)
    if network is None:
        unread = ", ".join(sorted(config.options))
        require(not unread, f"model.encoder.kind={config.kind} has no keys {unread}; choose an arm with this encoder")
        return encoder, None
    return encoder, _build_network(network, config, "model.encoder", shape, attributes)


def _build_network(
    network: type[Network], config: NetworkConfig, path: str, shape: tuple[int, int, int], attributes: dict[str, Any]
) -> Network:
    keys = network_keys(network)
    unknown, missing = sorted(config.options.keys() - keys), sorted(keys.keys() - config.options)
    kind = f"{path}.kind={config.kind}"
    require(not unknown, f"{kind} has no keys {', '.join(unknown)}; it has {', '.join(keys)}, which belong together")
    require(not missing, f"{kind} needs the keys {', '.join(missing)} as well; choose an arm that has them")
    options = {name: definition.checked(f"{path}.{name}", config.options[name]) for name, definition in keys.items()}
    fields = {field.name for field in dataclasses.fields(network)}
    taken = {name: value for name, value in attributes.items() if name in fields}
    built = network(**options, **taken)
    built.check(path, shape)
    return built


def networks(section: str) -> dict[str, type[nn.Module] | None]:
    """Networks by kind of the section 'model.score' or 'model.encoder'; None for an encoder without one."""
    if section == "model.score":
        return dict(SCORE_NETWORKS)
    return {kind: entry.network for kind, entry in ENCODERS.items()}


def network_keys(network: type[nn.Module]) -> dict[str, Key]:
    """Definitions of the keys of a network's section: its attributes without default, explained by its docstring."""
    types, docs = get_type_hints(network), _attribute_docs(network)
    names = [field.name for field in dataclasses.fields(network) if field.default is dataclasses.MISSING]
    return {name: Key(docs.get(name, ""), None, type=types[name]) for name in names}


def _attribute_docs(network: type[nn.Module]) -> dict[str, str]:
    """Texts by name of the section 'Attributes:' of a docstring."""
    _, _, attributes = (inspect.getdoc(network) or "").partition("Attributes:\n")
    found = re.findall(r"^  (\w+(?:, \w+)*): (.*(?:\n    .*)*)", attributes, re.MULTILINE)
    return {
        name: " ".join(f"{text[0].upper()}{text[1:]}".split()) for names, text in found for name in names.split(", ")
    }


def with_dtype(network: Network, name: str) -> Network:
    """The network with its blocks computing in the dtype `name` of `DTYPES`, if it has a dtype."""
    has_dtype = any(field.name == "dtype" for field in dataclasses.fields(network))
    return network.clone(dtype=DTYPES[name]) if has_dtype else network

"""The score networks, encoders and latent codes that a configuration can name.

A network is a linen module (images [B, H, W, C], time [B], dropout key) -> [B, H, W, C] in float32. Its attributes
without default are the keys of its section of the configuration. Its attributes with default, such as `dtype`, are set
by `build`, if it has them. `check(path, shape)` raises InputError for keys that do not fit the images. Fields of an
encoder without default, other than `network`, are keys of its section as well.

A score network also has the attributes `extra_heads`, names of its additional heads (`nets.blocks.Head`), `scan`, and
`repeated`, the name of the key that counts its alike layers or None. It takes `with_heads=True` to return the outputs
of the heads, by name, as well.

A network that can be conditioned has the attribute `conditions`, a number K that is 0 by default. If it is not, the
network is called with `condition` [B, K] as well.

To add a network or an encoder, write a class and list it here; the contract tests cover every entry.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, get_type_hints

import flax.linen as nn
import jax.numpy as jnp

from diffenc_jax.config.keys import Key
from diffenc_jax.config.sections import ModelConfig, NetworkConfig
from diffenc_jax.core.errors import lookup, require
from diffenc_jax.diffusion.affine import Affine
from diffenc_jax.diffusion.codes import KHot
from diffenc_jax.diffusion.encoders import Encoder, Identity, NonTrainable, Residual, Shrinking, Trainable, Unbounded
from diffenc_jax.nets.blocks import REMAT
from diffenc_jax.nets.code import CodeNetwork
from diffenc_jax.nets.dct import FrequencyGains
from diffenc_jax.nets.transformer import Transformer
from diffenc_jax.nets.unet import UNet

Network = TypeVar("Network", bound=nn.Module)
NETWORK = "network"  # attribute of an encoder that has one
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class EncoderEntry(NamedTuple):
    """An encoder: how x_t is computed, and its network if it has one."""

    encoder: type[Encoder]
    network: type[nn.Module] | None = None


SCORE_NETWORKS: dict[str, Any] = {"unet": UNet, "transformer": Transformer}

ENCODERS = {
    "identity": EncoderEntry(Identity),
    "nontrainable": EncoderEntry(NonTrainable),
    "shrinking": EncoderEntry(Shrinking),
    "trainable": EncoderEntry(Trainable, UNet),
    "unbounded": EncoderEntry(Unbounded, UNet),
    "residual": EncoderEntry(Residual, UNet),
    "transformer": EncoderEntry(Trainable, Transformer),
    "dct": EncoderEntry(Unbounded, FrequencyGains),
    "affine": EncoderEntry(Affine, UNet),
}


class CodeEntry(NamedTuple):
    """A latent code, and the network behind it (`nets.code.CodeNetwork`); neither for images without one."""

    code: type[KHot] | None = None
    trunk: type[nn.Module] | None = None


CODES = {"none": CodeEntry(), "k_hot": CodeEntry(KHot, UNet)}


class LatentCode(NamedTuple):
    """The code of a model's images, and the network that gives its logits."""

    kind: KHot
    network: nn.Module


def compute_options(config: ModelConfig, platform: str) -> dict[str, Any]:
    """Attributes that say how networks are computed, chosen for `platform` where left open."""
    on_cpu = platform == "cpu"
    remat = config.remat or ("none" if on_cpu else "products")
    lookup("model.remat", remat, REMAT)
    return {
        "dtype": lookup("model.dtype", config.dtype, DTYPES),
        "scan": not on_cpu if config.scan is None else config.scan,
        "remat": remat,
        "pairs": platform == "tpu",
    }


def build_score(config: NetworkConfig, shape: tuple[int, int, int], **attributes: Any) -> nn.Module:
    """The network that `model.score` describes, for images of `shape`; raises InputError."""
    network = lookup("score network", config.kind, SCORE_NETWORKS)
    options = _options(config, "model.score", keys_of_kinds("model.score")[config.kind])
    return _build_network(network, options, "model.score", shape, attributes)


def build_encoder(
    config: NetworkConfig, shape: tuple[int, int, int], **attributes: Any
) -> tuple[type[Encoder], nn.Module | None]:
    """The encoder that `model.encoder` describes and its network, for images of `shape`; raises InputError.

    The encoder's keys are set: its class takes the network alone, or nothing without one.
    """
    entry = lookup("encoder", config.kind, ENCODERS)
    options = _options(config, "model.encoder", keys_of_kinds("model.encoder")[config.kind])
    own = {name: options[name] for name in _keys(entry.encoder) if name != NETWORK}
    encoder = _with_defaults(entry.encoder, own)
    make: Callable[..., Encoder] = encoder  # raises InputError for values that it does not allow
    if entry.network is None:
        make()
        return encoder, None
    options = {name: value for name, value in options.items() if name not in own}
    attributes |= {"outputs": encoder.outputs}
    network = _build_network(entry.network, options, "model.encoder", shape, attributes)
    make(network)
    return encoder, network


def build_code(config: NetworkConfig, shape: tuple[int, int, int], **attributes: Any) -> LatentCode | None:
    """The code that `model.code` describes, for images of `shape`; raises InputError."""
    entry = lookup("code", config.kind, CODES)
    options = _options(config, "model.code", keys_of_kinds("model.code")[config.kind])
    if entry.code is None or entry.trunk is None:
        return None
    code = entry.code(**{name: options.pop(name) for name in _keys(entry.code)})
    trunk = _build_network(entry.trunk, options, "model.code", shape, attributes | {"conditions": 0})
    return LatentCode(code, CodeNetwork(trunk, code.units))


def _with_defaults(encoder: type[Encoder], values: dict[str, Any]) -> type[Encoder]:
    """The encoder with `values` as the defaults of its fields."""
    if not values:
        return encoder
    fields = [(name, type(value), dataclasses.field(default=value)) for name, value in values.items()]
    return dataclasses.make_dataclass(encoder.__name__, fields, bases=(encoder,), frozen=True, kw_only=True)


def _options(config: NetworkConfig, path: str, keys: dict[str, Key]) -> dict[str, Any]:
    """The checked options of a section with these keys; raises InputError."""
    unknown, missing = sorted(config.options.keys() - keys), sorted(keys.keys() - config.options)
    kind = f"{path}.kind={config.kind}"
    advice = f"it has {', '.join(keys) or 'none'}; choose an arm with this kind, or give the whole section {path}"
    require(not unknown, f"{kind} has no keys {', '.join(unknown)}; {advice}")
    require(not missing, f"{kind} needs the keys {', '.join(missing)} as well; choose an arm that has them")
    return {name: definition.checked(f"{path}.{name}", config.options[name]) for name, definition in keys.items()}


def _build_network(
    network: type[Network], options: dict[str, Any], path: str, shape: tuple[int, int, int], attributes: dict[str, Any]
) -> Network:
    fields = {field.name for field in dataclasses.fields(network)}
    taken = {name: value for name, value in attributes.items() if name in fields}
    require(
        not attributes.get("conditions") or "conditions" in fields,
        "model.labels=True, model.augmentation=True and a model.code need networks that take a condition, and that of "
        f"{path}.kind takes none; take another",
    )
    built = network(**options, **taken)
    built.check(path, shape)
    return built


def keys_of_kinds(section: str) -> dict[str, dict[str, Key]]:
    """Definitions of the keys of the section 'model.score', 'model.encoder' or 'model.code', by kind and name.

    The keys of a part are its attributes without default, explained by its docstring. The own keys of an encoder or a
    code come before those of its network.
    """
    if section == "model.score":
        return {kind: _keys(network) for kind, network in SCORE_NETWORKS.items()}
    entries: Mapping[str, EncoderEntry | CodeEntry] = ENCODERS if section == "model.encoder" else CODES
    kinds = {}
    for kind, (part, network) in entries.items():
        own = {name: key for name, key in _keys(part).items() if name != NETWORK} if part else {}
        kinds[kind] = own | (_keys(network) if network else {})
    return kinds


def _keys(part: type) -> dict[str, Key]:
    """Definitions of the keys of a network, an encoder or a code."""
    types, docs = get_type_hints(part), _attribute_docs(part)
    fields = dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()
    names = [field.name for field in fields if field.default is dataclasses.MISSING]
    return {name: Key(docs.get(name, ""), None, type=types[name]) for name in names}


def _attribute_docs(part: type) -> dict[str, str]:
    """Texts by name of the section 'Attributes:' of a docstring."""
    _, _, attributes = (inspect.getdoc(part) or "").partition("Attributes:\n")
    found = re.findall(r"^  (\w+(?:, \w+)*): (.*(?:\n    .*)*)", attributes, re.MULTILINE)
    return {
        name: " ".join(f"{text[0].upper()}{text[1:]}".split()) for names, text in found for name in names.split(", ")
    }


def with_dtype(network: Network, name: str) -> Network:
    """The network with its blocks computing in the dtype `name` of `DTYPES`, if it has a dtype."""
    has_dtype = any(field.name == "dtype" for field in dataclasses.fields(network))
    return network.clone(dtype=DTYPES[name]) if has_dtype else network

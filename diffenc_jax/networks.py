"""Networks as `config.model` describes them, and the encoders that there are.

A network is a linen module, (images [B, H, W, C], time [B], dropout key) -> [B, H, W, C] in float32. Its attributes
without default are the keys of its section; those with, such as `dtype`, say what it is told besides. `check(path,
shape)` refuses keys that do not fit the images. Add one to `ENCODERS`, and the contract tests take it up.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax.numpy as jnp

from diffenc_jax.config import require, unpack
from diffenc_jax.diffusion.encoders import Encoder, Identity, NonTrainable, Trainable, Unbounded
from diffenc_jax.errors import lookup
from diffenc_jax.nets.blocks import REMAT
from diffenc_jax.nets.dct import FrequencyGains
from diffenc_jax.nets.transformer import Transformer
from diffenc_jax.nets.unet import UNet

Network = TypeVar("Network", bound=nn.Module)
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class EncoderEntry(NamedTuple):
    """What a name of `model.encoder.kind` stands for: how x_t comes about, and from which network if from one."""

    encoder: type[Encoder]
    network: type[nn.Module] | None = None


ENCODERS = {
    "identity": EncoderEntry(Identity),
    "nontrainable": EncoderEntry(NonTrainable),
    "trainable": EncoderEntry(Trainable, UNet),
    "transformer": EncoderEntry(Trainable, Transformer),
    "dct": EncoderEntry(Unbounded, FrequencyGains),
}


@dataclass(frozen=True)
class ComputeConfig:
    """How the networks are computed; changes no parameter and, but for rounding, no value."""

    dtype: str
    scan: bool | None
    remat: str | None

    def resolve(self, platform: str) -> dict[str, Any]:
        """What the networks are given, with what the configuration leaves open as is best on `platform`."""
        on_cpu = platform == "cpu"
        remat = self.remat or ("none" if on_cpu else "products")
        lookup("model.remat", remat, REMAT)
        return {
            "dtype": lookup("model.dtype", self.dtype, DTYPES),
            "scan": not on_cpu if self.scan is None else self.scan,
            "remat": remat,
        }


def build_encoder(
    section: Mapping[str, Any], shape: tuple[int, int, int], **given: Any
) -> tuple[type[Encoder], nn.Module | None]:
    """What `model.encoder` describes, for images of `shape`, and its network; see `build_network`."""
    keys = dict(section)
    encoder, network = lookup("encoder", keys.pop("kind", None), ENCODERS)
    if network is None:
        require(not keys, f"model.encoder has no network to take the keys {sorted(keys)}")
        return encoder, None
    return encoder, build_network(network, keys, "model.encoder", shape, **given)


def build_network(
    network: type[Network], section: Mapping[str, Any], path: str, shape: tuple[int, int, int], **given: Any
) -> Network:
    """`network` with the keys of `section`, which is at `path`, and with those of `given` that it has a use for.

    Raises:
      InputError: a key is missing, is one that nothing reads, or does not fit images of `shape`.
    """
    built = unpack(network, section, path, **{name: value for name, value in given.items() if name in _names(network)})
    built.check(path, shape)
    return built


def computing_in(network: Network, dtype: str) -> Network:
    """The same, its blocks computing in `dtype`, a name of `DTYPES`, if it has any that do."""
    return network.clone(dtype=DTYPES[dtype]) if "dtype" in _names(type(network)) else network


def _names(network: type[nn.Module]) -> set[str]:
    return {field.name for field in dataclasses.fields(network)}

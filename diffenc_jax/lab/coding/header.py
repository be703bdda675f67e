"""The header of a file of compressed images: what decoding needs to know, and what it compares with this machine."""

from dataclasses import dataclass
from typing import Any

import msgpack

from diffenc_jax.config import Config
from diffenc_jax.config.config import flatten
from diffenc_jax.core import versions
from diffenc_jax.runs.hashes import tree_digest

# Keys of the configuration, besides those that identify a run, on which a file depends.
KEYS = (
    *("loss.depth", "loss.extrapolation", "loss.variance_ratio", "loss.times", "eval.dtype"),
    *("compress.order", "compress.spacing", "compress.batch_size", "compress.seed"),
)
# Software and devices on which the last digits of what is computed may depend.
PLATFORM = ("jaxlib", "constriction", "numpy", "device")
DIGEST_BYTES = 16
LONGEST_TEXT = 200


@dataclass(frozen=True)
class Header:
    """Header of a file: how its images were coded, and what decoding must find on its machine.

    Attributes:
      shape: [N, H, W, C] of the images.
      values: values of the configuration's `KEYS`, in their order.
      batch_size: images per batch.
      step: training step of the checkpoint.
      checkpoint: digest of its parameters.
      steps: digest of the steps' arrays.
      outputs: digest of outputs of the networks, and of the lattice.
      platform: versions of `PLATFORM`, in their order.
    """

    shape: list[int]
    values: list[Any]
    batch_size: int
    step: int
    checkpoint: bytes
    steps: bytes
    outputs: bytes
    platform: list[str]


def blank_header(config: Config, shape: tuple[int, ...], batch_size: int) -> Header:
    """The header of a file of images [N, H, W, C], with zeros for the step and the digests; it has the right length."""
    values, zeros = flatten(config.to_dict()), bytes(DIGEST_BYTES)
    return Header(list(shape), [values[key] for key in KEYS], batch_size, 0, zeros, zeros, zeros, platform())


def digest(arrays: Any) -> bytes:
    """Digest of a tree of arrays."""
    return bytes.fromhex(tree_digest(arrays))[:DIGEST_BYTES]


def platform() -> list[str]:
    """The versions and the devices of this process, in the order of `PLATFORM`."""
    known = {**versions.software(), "device": versions.device()}
    return [known[name] for name in PLATFORM]


def pack_header(header: Header) -> bytes:
    """The header as a msgpack array."""
    return msgpack.packb(list(vars(header).values()))


def parse_header(content: bytes) -> Header:
    """Inverse of `pack_header`; raises ValueError for what makes no sense."""
    try:
        header = Header(*msgpack.unpackb(content, max_str_len=LONGEST_TEXT, max_array_len=16, max_map_len=0))
        lengths = [len(part) for part in (header.shape, header.values, header.platform)]
        numbers = [*header.shape, header.batch_size, header.step + 1]
    except (TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ValueError("not the entries of a header") from error
    right = (
        lengths == [4, len(KEYS), len(PLATFORM)]
        and all(type(number) is int and 0 < number < 2**31 for number in numbers)
        and all(value is None or isinstance(value, int | float | str) for value in header.values)
        and all(isinstance(text, str) and text.isprintable() for text in header.platform)
        and all(isinstance(part, bytes) and len(part) == DIGEST_BYTES for part in _digests(header))
    )
    if not right:
        raise ValueError("an entry of the header has a value that no header has")
    return header


def _digests(header: Header) -> tuple[bytes, bytes, bytes]:
    return header.checkpoint, header.steps, header.outputs

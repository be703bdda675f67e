"""The file of compressed images: `MAGIC`, a digest of everything after it, and a `Container` as msgpack.

Reading a file runs nothing.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import serialization

from diffenc_jax.core.errors import require
from diffenc_jax.runs.files import sha256_of

MAGIC = b"diffenc\x02"
DIGEST_BYTES = 16


@dataclass(frozen=True)
class Container:
    """The content of a file: what decoding needs to know and compares with its run and machine, and the code.

    Attributes:
      step: training step of the checkpoint.
      values: values of the configuration's keys, besides those that identify a run, on which the code depends.
      origin: of the run and the machine: versions, device, images per batch, and a digest of the parameters.
      steps: arrays of the steps if they were fitted; otherwise empty.
      checksums: uint32 [N], one per image.
      lengths: numbers of words of the stacks.
      words: of all stacks, uint32.
    """

    step: int
    values: list[Any]
    origin: list[Any]
    steps: dict[str, np.ndarray]
    checksums: np.ndarray
    lengths: np.ndarray
    words: np.ndarray

    @property
    def stacks(self) -> list[np.ndarray]:
        """Words of each stack."""
        return np.split(self.words, np.cumsum(self.lengths)[:-1])


def checksums(images: np.ndarray) -> np.ndarray:
    """CRC-32 of the pixels of images [N, H, W, C], uint32 [N]."""
    return np.array([zlib.crc32(image.tobytes()) for image in images], np.uint32)


def pack(container: Container) -> bytes:
    """The bytes of a file."""
    body = serialization.msgpack_serialize(list(vars(container).values()))
    return MAGIC + _digest(body) + body


def unpack(content: bytes, name: str) -> Container:
    """The content of the file `name`; raises InputError if it is no such file, or damaged."""
    require(content.startswith(MAGIC), f"{name} is not a file of images that this version of diffenc_jax compressed")
    start = len(MAGIC) + DIGEST_BYTES
    intact = content[len(MAGIC) : start] == _digest(content[start:])
    require(intact, f"{name} is damaged or cut off; copy or write it again")
    return Container(*serialization.msgpack_restore(content[start:]))


def _digest(body: bytes) -> bytes:
    return bytes.fromhex(sha256_of(body))[:DIGEST_BYTES]

"""The file of compressed images.

  bytes            content
  8                `MAGIC`, with the version of the format
  16               SHA-256 digest of everything after it, cut off
  4                length of the header
  ...              `Header`, as a msgpack array
  4 per image      CRC-32 of its pixels
  4 per stack      number of its words
  4 per word       the stacks, one after another

All integers are little-endian. Reading a file runs nothing, and checks every length before it is used.
"""

import zlib
from typing import NamedTuple

import numpy as np

from diffenc_jax.core.errors import InputError, require
from diffenc_jax.lab.coding.header import DIGEST_BYTES, Header, pack_header, parse_header
from diffenc_jax.runs.files import sha256_of

MAGIC = b"diffenc\x01"
LARGEST_HEADER = 2**16  # bytes
WORD = np.dtype("<u4")


class Container(NamedTuple):
    """The content of a file.

    Attributes:
      checksums: uint32 [N], one per image.
      stacks: words of each stack, uint32.
    """

    header: Header
    checksums: np.ndarray
    stacks: list[np.ndarray]


def checksums(images: np.ndarray) -> np.ndarray:
    """CRC-32 of the pixels of images [N, H, W, C], uint32 [N]."""
    return np.array([zlib.crc32(image.tobytes()) for image in images], np.uint32)


def pack(container: Container) -> bytes:
    """The bytes of a file."""
    header = pack_header(container.header)
    lengths = np.array([len(words) for words in container.stacks])
    arrays = [container.checksums, lengths, *container.stacks]
    return signed(len(header).to_bytes(4, "little") + header + b"".join(a.astype(WORD).tobytes() for a in arrays))


def signed(body: bytes) -> bytes:
    """A file with this content behind its digest."""
    return MAGIC + _digest(body) + body


def overhead_bytes(header: Header, images: int, stacks: int) -> int:
    """Bytes of a file of so many images on so many stacks, without the words of the stacks."""
    none = np.zeros(0, np.uint32)
    return len(pack(Container(header, np.zeros(images, np.uint32), [none] * stacks)))


def unpack(content: bytes, name: str) -> Container:
    """The content of the file `name`; raises InputError if it is no such file, damaged or makes no sense."""
    require(content[: len(MAGIC) - 1] == MAGIC[:-1], f"{name} is not a file of compressed images")
    require(
        content[: len(MAGIC)] == MAGIC,
        f"{name} is of another version of the format; decompress it by the version of diffenc_jax that wrote it",
    )
    body = content[len(MAGIC) + DIGEST_BYTES :]
    require(
        content[len(MAGIC) :][:DIGEST_BYTES] == _digest(body), f"{name} is damaged or cut off; copy or write it again"
    )
    try:
        return _parse(body)
    except ValueError as error:
        raise InputError(f"{name} has a header that makes no sense; write it again") from error


def _parse(body: bytes) -> Container:
    """The content behind the digest; raises ValueError."""
    start = 4 + int.from_bytes(body[:4], "little")
    if start > LARGEST_HEADER:
        raise ValueError
    header = parse_header(body[4:start])
    numbers = np.frombuffer(body[start:], WORD).astype(np.uint32)
    count = header.shape[0]
    found, rest = numbers[:count], numbers[count:]
    num_stacks = min(header.batch_size, count)
    lengths, words = rest[:num_stacks].astype(np.int64), rest[num_stacks:]
    if len(found) != count or len(lengths) != num_stacks or lengths.sum() != len(words) or not lengths.all():
        raise ValueError
    stacks = np.split(words, np.cumsum(lengths)[:-1])
    if any(stack[-1] == 0 for stack in stacks):
        raise ValueError
    return Container(header, found, stacks)


def _digest(body: bytes) -> bytes:
    return bytes.fromhex(sha256_of(body))[:DIGEST_BYTES]

"""The file of compressed images: `MAGIC`, a digest of everything after it, and a `Container`.

The container is a line of JSON followed by its arrays, whose values have 32 bits. Reading a file executes nothing, and
takes memory in proportion to its size. The digest detects damage. A forged file may have a correct digest, so the
content is checked too.
"""

import json
import math
import zlib
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.typed import mismatch
from diffenc_jax.runs.files import parse_json, sha256_of

MAGIC = b"diffenc\x03"
NOT_WRITTEN = "{} is not a file that `compress` wrote: {}; compress the images again"  # of a name, and of what is wrong
DIGEST_BYTES = 16
LONGEST, MOST_AXES = 4096, 4  # bytes of the line of JSON, and axes of the arrays of steps


@dataclass(frozen=True)
class Container:
    """The content of a file: the settings for decoding, entries to compare with the run and the machine, and the code.

    Attributes:
      step: training step of the checkpoint.
      values: further keys of the configuration on which the code depends, with their values; keys that identify the run
        are left out.
      origin: versions, device, images per batch, and a digest of the parameters, of the run and the machine.
      steps: arrays of the steps, float32, if they were fitted; otherwise empty.
      checksums: uint32 [N], one per image.
      stacks: the words of each stack, uint32.
    """

    step: int
    values: list[Any]
    origin: list[Any]
    steps: dict[str, np.ndarray]
    checksums: np.ndarray
    stacks: list[np.ndarray]


class _Header(TypedDict):
    """The line of JSON: entries of a `Container`, the shapes of its steps, and the numbers of images and stacks."""

    step: int
    values: list[object]
    origin: list[object]
    steps: dict[str, list[int]]
    images: int
    stacks: int


def checksums(images: np.ndarray) -> np.ndarray:
    """CRC-32 of the pixels of images [N, H, W, C], uint32 [N]."""
    return np.array([zlib.crc32(image.tobytes()) for image in images], np.uint32)


def pack(container: Container) -> bytes:
    """The bytes of a file."""
    shapes = {name: list(array.shape) for name, array in container.steps.items()}
    header = {"step": container.step, "values": container.values, "origin": container.origin, "steps": shapes}
    header |= {"images": len(container.checksums), "stacks": len(container.stacks)}
    line = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    lengths = np.array(list(map(len, container.stacks)), np.uint32)
    arrays = *container.steps.values(), container.checksums, lengths, *container.stacks
    body = b"\n".join([line, b"".join(array.tobytes() for array in arrays)])
    return MAGIC + _digest(body) + body


def unpack(content: bytes, name: str) -> Container:
    """The content of the file `name`; raises InputError if it is damaged or has another format."""
    require(content.startswith(MAGIC), f"{name} is not a file of images that this version of diffenc_jax compressed")
    start = len(MAGIC) + DIGEST_BYTES
    intact = content[len(MAGIC) : start] == _digest(content[start:])
    require(intact, f"{name} is damaged or cut off; copy or write it again")
    try:
        return _parse(content[start:])
    except ValueError as error:
        raise InputError(NOT_WRITTEN.format(name, error)) from error


def _parse(body: bytes) -> Container:
    """The container with the bytes `body`; raises ValueError if the bytes are no container."""
    line, _, data = body.partition(b"\n")
    require(len(line) <= LONGEST, "its first line is too long")
    header: _Header = parse_json(line)
    wrong = mismatch(header, _Header)
    require(wrong is None, f"{wrong or 'its first line'} is wrong")
    shapes = [*header["steps"].values(), [header["images"]], [header["stacks"]]]
    sane = all(len(shape) <= MOST_AXES and min(shape, default=0) > 0 for shape in shapes)
    sizes = list(map(math.prod, shapes))
    require(sane and len(data) % 4 == 0 and 4 * sum(sizes) <= len(data), "its arrays have other shapes")
    *steps, sums, lengths, words = np.split(np.frombuffer(data, np.uint32), np.cumsum(sizes))
    whole = lengths.sum() == len(words) and lengths.all() and words[np.cumsum(lengths) - 1].all()
    require(bool(whole), "its stacks have other lengths, or end in zero")
    named = zip(header["steps"].items(), steps, strict=True)
    arrays = {name: array.view(np.float32).reshape(shape) for (name, shape), array in named}
    stacks = np.split(words, np.cumsum(lengths)[:-1])
    return Container(header["step"], header["values"], header["origin"], arrays, sums, stacks)


def _digest(body: bytes) -> bytes:
    return bytes.fromhex(sha256_of(body))[:DIGEST_BYTES]

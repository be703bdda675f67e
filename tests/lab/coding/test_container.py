"""The file: what is packed comes back, and what was changed is refused in one line."""

import contextlib

import msgpack
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.coding.container import MAGIC, Container, checksums, overhead_bytes, pack, signed, unpack
from diffenc_jax.lab.coding.header import DIGEST_BYTES, KEYS, blank_header, pack_header
from tests import tiny

START = len(MAGIC) + DIGEST_BYTES
HEADER = blank_header(tiny.config("vdm"), (5, 4, 4, 1), 3)
WORDS = [np.array([7, 2**32 - 1, 0, 9], np.uint32), np.array([1], np.uint32), np.array([5, 5], np.uint32)]
CONTAINER = Container(HEADER, checksums(tiny.images(5)), WORDS)
CONTENT = pack(CONTAINER)


def with_entry(number, value):
    """A file with another value in its header, whose digest is right."""
    header = pack_header(HEADER)
    entries = msgpack.unpackb(header)
    entries[number] = value
    packed = msgpack.packb(entries)
    return signed(len(packed).to_bytes(4, "little") + packed + CONTENT[START + 4 + len(header) :])


def test_what_is_packed_comes_back():
    found = unpack(CONTENT, "file")
    assert found.header == HEADER
    np.testing.assert_array_equal(found.checksums, CONTAINER.checksums)
    for words, expected in zip(found.stacks, WORDS, strict=True):
        np.testing.assert_array_equal(words, expected)
    assert dict(zip(KEYS, found.header.values, strict=True))["compress.spacing"] == 0.25


def test_overhead_is_all_but_the_words():
    assert overhead_bytes(HEADER, 5, 3) == len(CONTENT) - 4 * sum(map(len, WORDS))


def test_files_that_were_changed_are_refused():
    """Bytes flipped, cut off, inserted, doubled."""
    random = np.random.RandomState(0)
    for _ in range(10_000):
        content, place = bytearray(CONTENT), random.randint(len(CONTENT))
        match random.randint(4):
            case 0:
                content[place] ^= 1 << random.randint(8)
            case 1:
                del content[place:]
            case 2:
                content[place:place] = random.bytes(random.randint(1, 9))
            case 3:
                content += content[place:]
        with pytest.raises(InputError, match=r"^file (is|has) [^\n]*$"):
            unpack(bytes(content), "file")


def test_changed_bodies_with_a_right_digest_hold_together_or_are_refused():
    random, body, held = np.random.RandomState(1), CONTENT[START:], 0
    for _ in range(5000):
        content = bytearray(body)
        for _ in range(random.randint(1, 4)):
            content[random.randint(len(content))] = random.randint(256)
        with contextlib.suppress(InputError):
            found = unpack(signed(bytes(content)), "file")
            held += 1
            assert len(found.checksums) == found.header.shape[0]
            assert all(len(words) and words[-1] for words in found.stacks)
    assert 0 < held < 5000


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (0, [5, 4, 4]),
        (0, [2**31, 4, 4, 1]),
        (0, [0, 4, 4, 1]),
        (0, [5, 4, 4, True]),
        (0, "5441"),
        (1, []),
        (1, [[1]] * len(KEYS)),
        (2, 0),
        (2, 2.5),
        (3, -1),
        (4, b"short"),
        (5, "0123456789abcdef"),
        (7, ["a\n", "b", "c", "d"]),
        (7, ["a" * 300, "b", "c", "d"]),
    ],
)
def test_absurd_headers_are_refused(number, value):
    with pytest.raises(InputError, match=r"^file has a header that makes no sense; write it again$"):
        unpack(with_entry(number, value), "file")


def test_other_files_and_other_versions_are_refused():
    with pytest.raises(InputError, match=r"^file is not a file of compressed images$"):
        unpack(b"\x89PNG\r\n\x1a\n" + CONTENT, "file")
    with pytest.raises(InputError, match=r"^file is of another version of the format; decompress it by the version"):
        unpack(MAGIC[:-1] + b"\x09" + CONTENT[len(MAGIC) :], "file")

"""The file: what is packed comes back, and what was changed is refused in one line."""

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.coding.container import Container, pack, unpack

CONTAINER = Container(
    step=3,
    values=[4, "uniform"],
    origin=["0.1", 3],
    steps={"gamma": np.linspace(-5, 5, 5, dtype=np.float32)},
    checksums=np.arange(5, dtype=np.uint32),
    lengths=np.array([4, 1, 2], np.uint32),
    words=np.array([7, 2**32 - 1, 0, 9, 1, 5, 5], np.uint32),
)
CONTENT = pack(CONTAINER)


def test_what_is_packed_comes_back():
    for name, value in vars(unpack(CONTENT, "file")).items():
        np.testing.assert_equal(value, getattr(CONTAINER, name))
    assert [list(words) for words in CONTAINER.stacks] == [[7, 2**32 - 1, 0, 9], [1], [5, 5]]


def test_files_that_were_changed_are_refused():
    """Bytes flipped, cut off, inserted, doubled."""
    random = np.random.RandomState(0)
    for number in range(4000):
        content, place = bytearray(CONTENT), random.randint(len(CONTENT))
        match number % 4:
            case 0:
                content[place] ^= 1 << random.randint(8)
            case 1:
                del content[place:]
            case 2:
                content[place:place] = random.bytes(random.randint(1, 9))
            case 3:
                content += content[place:]
        with pytest.raises(InputError, match=r"^file is [^\n]*$"):
            unpack(bytes(content), "file")

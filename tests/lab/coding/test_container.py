"""The file: what is packed comes back, and what was changed or forged is refused in one line."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.coding.container import MAGIC, Container, pack, unpack

CONTAINER = Container(
    step=3,
    values=[4, "uniform"],
    origin=["0.1", 3],
    steps={"gamma": np.linspace(-5, 5, 5, dtype=np.float32)},
    checksums=np.arange(5, dtype=np.uint32),
    stacks=[np.array(words, np.uint32) for words in ([7, 2**32 - 1, 0, 9], [1], [5, 5])],
)
CONTENT = pack(CONTAINER)
BODY = CONTENT[len(MAGIC) + 16 :]


def test_what_is_packed_comes_back():
    np.testing.assert_equal(vars(unpack(CONTENT, "file")), vars(CONTAINER))


@settings(max_examples=1000)
@given(at=st.integers(0, len(CONTENT)), cut=st.integers(0, len(CONTENT)), new=st.binary(max_size=9))
def test_files_that_were_changed_are_refused(at, cut, new):
    """Bytes changed, cut off, inserted."""
    changed = CONTENT[:at] + new + CONTENT[at + cut :]
    assume(changed != CONTENT)
    with pytest.raises(InputError, match=r"^file is [^\n]*$"):
        unpack(changed, "file")


def header(**changes):
    """The body of the file with another line of JSON."""
    line, _, data = BODY.partition(b"\n")
    return json.dumps(json.loads(line) | changes).encode() + b"\n" + data


def stacks(*lengths):
    """The body of the file with these lengths of its three stacks, which hold seven words."""
    return BODY[:-40] + np.uint32(lengths).tobytes() + BODY[-28:]


FORGERIES = {
    "nothing": b"",
    "no entries": b"{}\n",
    "a list": b"[3]\n",
    "a long line": b'"' + b"x" * 10**6 + b'"\n',
    "cut off in the words": BODY[:-4],
    "cut off in a word": BODY[:-1],
    "a further word": BODY + bytes(4),
    "a step that is true": header(step=True),
    "values by name": header(values={}),
    "no images": header(images=0),
    "huge": header(images=2**62),
    "huge steps": header(steps={"gamma": [2**62, 2**62]}),
    "negative steps": header(steps={"gamma": [-5, -1]}),
    "steps of a hundred axes": header(steps={"gamma": [5] + [1] * 99}),
    "steps without axes": header(steps={"gamma": []}),
    "an empty stack": stacks(5, 0, 2),
    "lengths that overflow": stacks(2**32 - 3, 4, 6),
    "a stack that ends in zero": stacks(3, 2, 2),
}


@pytest.mark.parametrize("body", FORGERIES.values(), ids=FORGERIES)
def test_a_digest_makes_no_file(body):
    with pytest.raises(InputError, match=r"^file is not a file that `compress` wrote: [^\n]{,200}$"):
        unpack(MAGIC + hashlib.sha256(body).digest()[:16] + body, "file")

"""The digest of a part's source changes with its module and what that imports."""

import sys

import pytest

from diffenc_jax.core.sources import UNKNOWN, outside_digest
from diffenc_jax.diffusion.encoders import Identity

MODULE = """
import helpers_of_mine
from diffenc_jax.diffusion.encoders import Encoder


def made(amount):
    class Local(Encoder):
        def mean(self, x, gamma):  # α_t x
            return helpers_of_mine.scaled(amount, x)

    return Local


Half = made(0.5)
Half.__qualname__ = Half.__name__ = "Renamed"
"""
HELPERS = "def scaled(a, b):\n    return a * b\n"


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """digest(module, helpers): that of the encoder in a module with this text, which imports the helpers."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def digest(module=MODULE, helpers=HELPERS):
        for name, text in (("mine", module), ("helpers_of_mine", helpers)):
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        import mine

        found = outside_digest([mine.Half, Identity])
        for name in ("mine", "helpers_of_mine"):
            sys.modules.pop(name)
        return found

    return digest


def test_the_sources_of_a_part_count_and_their_comments_do_not(digest):
    digests = [digest(), digest(helpers=HELPERS.replace("a * b", "a / b")), digest(MODULE.replace("0.5", "0.25"))]
    assert len(set(digests)) == 3
    assert digest(MODULE.replace("# α_t x", "# half")) == digests[0]


def test_parts_of_the_package_have_none():
    assert outside_digest([Identity, Identity()]) is None


def test_what_has_no_source_is_unknown():
    names = {"__name__": "typed_in"}
    exec("class Part:\n    def mean(self, x):\n        return x", names)
    assert outside_digest([names["Part"]]) == UNKNOWN

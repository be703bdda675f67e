"""The digest of a part's source changes with the file that defines it."""

import sys

from diffenc_jax.core.sources import UNKNOWN, outside_digest
from diffenc_jax.diffusion.encoders import Identity

MODULE = """
from diffenc_jax.diffusion.encoders import Encoder


def made(amount):
    class Local(Encoder):
        def mean(self, x, gamma):  # α_t x
            return amount * x

    return Local


Half = made(0.5)
"""


def test_the_file_of_a_part_counts_and_its_comments_do_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def digest(text):
        (tmp_path / "mine.py").write_text(text)
        import mine

        try:
            return outside_digest([mine.Half, Identity])
        finally:
            sys.modules.pop("mine")

    first = digest(MODULE)
    assert digest(MODULE.replace("# α_t x", "# half")) == first
    assert digest(MODULE.replace("0.5", "0.25")) != first


def test_parts_of_the_package_have_none():
    assert outside_digest([Identity, Identity()]) is None


def test_what_has_no_source_is_unknown():
    names = {"__name__": "typed_in"}
    exec("class Part:\n    def mean(self, x):\n        return x", names)
    assert outside_digest([names["Part"]]) == UNKNOWN

"""The digest of a part's source changes with what the part needs, and with nothing else."""

import sys

import pytest

from diffenc_jax.core.sources import UNKNOWN, outside_digest
from diffenc_jax.diffusion.encoders import Identity

MODULE = '''
"""An encoder of one's own."""

import math

import helpers_of_mine
from diffenc_jax.diffusion.encoders import Encoder

AMOUNT = 0.5
TABLE = {}
TABLE["x"] = 3


def share(gamma):
    return AMOUNT * gamma


class Fading(Encoder):
    def mean(self, x, gamma):  # α_t x
        return helpers_of_mine.scaled(share(gamma), x) + TABLE["x"]


def made(amount):
    class Local(Encoder):
        def mean(self, x, gamma):
            return amount * x

    return Local


Half = made(0.5)
Half.__qualname__ = Half.__name__ = "Renamed"


def get_config(arm="fading"):
    return {"train.steps": 100}
'''
HELPERS = "def scaled(a, b):\n    return a * b\n"


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """digest(module, helpers): that of the encoder in a module with this text, which imports the helpers."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def digest(module=MODULE, helpers=HELPERS, part=lambda mine: mine.Fading):
        for name, text in (("mine", module), ("helpers_of_mine", helpers)):
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        import mine

        found = outside_digest([part(mine), Identity])
        for name in ("mine", "helpers_of_mine"):
            sys.modules.pop(name)
        return found

    return digest


def test_what_the_part_needs_counts(digest):
    changes = [
        ("share(gamma), x)", "share(gamma), -x)"),
        ("AMOUNT * gamma", "AMOUNT + gamma"),
        ("AMOUNT = 0.5", "AMOUNT = 0.25"),
        ('TABLE["x"] = 3', 'TABLE["x"] = 4'),
    ]
    digests = [digest(), digest(helpers=HELPERS.replace("a * b", "a / b"))]
    digests += [digest(MODULE.replace(*change)) for change in changes]
    assert len(set(digests)) == 6


@pytest.mark.parametrize("part", [lambda mine: mine.made(0.5), lambda mine: mine.Half])
def test_a_class_that_a_function_makes_counts(digest, part):
    """Also under another name than that of its definition."""
    assert digest(part=part) != digest(MODULE.replace("amount * x", "amount + x"), part=part)


def test_nothing_else_counts(digest):
    changes = [("# α_t x", "# faded"), ('"train.steps": 100', '"train.steps": 200'), ("import math\n", "\n\n")]
    assert {digest(MODULE.replace(*change)) for change in changes} == {digest()}


def test_parts_of_the_package_have_none():
    assert outside_digest([Identity, Identity()]) is None


def test_what_has_no_source_is_unknown():
    names = {"__name__": "typed_in"}
    exec("class Part:\n    def mean(self, x):\n        return x", names)
    assert outside_digest([names["Part"]]) == UNKNOWN

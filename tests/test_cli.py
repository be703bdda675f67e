"""Overrides as the command line takes them: what a workdir could not keep is refused."""

import pytest

from diffenc_jax import cli
from diffenc_jax.errors import InputError
from tests.shipped import CONFIGS

DIGITS = str(CONFIGS / "digits.py")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "loss.variance_ratio={1,2}",
            "loss.variance_ratio must be a number, text, truth value, None or tuple of these",
        ),
        ("loss.variance_ratio=b'learned'", "not b'learned'"),
        ("loss.variance_ratio=1j", "not 1j"),
        ("loss.variance_ratio=(1,(2,b'3'))", "loss.variance_ratio must be a number"),
        ("loss={}", "configuration keys ['depth', 'extrapolation', 'times', 'variance_ratio'] are missing in loss"),
        ("mesh={'a':1}", "configuration keys ['fsdp'] are missing in mesh"),
        ("loss={1:2}", "loss.1 is no configuration key, which is text"),
        ("loss={'depth':{2:3}}", "loss.depth.2 is no configuration key, which is text"),
    ],
)
def test_refuses_what_is_not_plain_or_not_whole(override, message):
    with pytest.raises(InputError) as caught:
        cli.load(DIGITS, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_takes_what_is():
    ratio = cli.load(DIGITS, ["loss.variance_ratio=(1,2.5,None,'a',(True,))"]).loss.variance_ratio
    assert ratio == (1, 2.5, None, "a", (True,))

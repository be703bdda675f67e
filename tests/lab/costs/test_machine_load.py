"""Other processes' share of the CPU time: by hand, and on this machine."""

import os

import pytest

from diffenc_jax.lab.costs.load import cpu_seconds, share_of_others

SHARES = [
    ((120.0, 45.0), 0.25),
    ((120.0, 39.9), 0.0),  # ticks
    ((100.4, 40.3), None),  # too short for the ticks
    ((100.0, 40.0), None),
]


@pytest.mark.parametrize(("after", "share"), SHARES)
def test_the_share_is_that_of_all_cores(after, share):
    assert share_of_others((100.0, 40.0), after) == (share and pytest.approx(share))


@pytest.mark.skipif(cpu_seconds() == (0.0, 0.0), reason="this system does not count as Linux does")
def test_our_own_time_is_not_that_of_others():
    before, own = cpu_seconds(), sum(os.times()[:4])
    while cpu_seconds()[0] - before[0] < 1.0:
        pass
    after, own = cpu_seconds(), sum(os.times()[:4]) - own
    assert after[1] - before[1] <= after[0] - before[0] - own + 0.05

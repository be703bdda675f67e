"""Other processes' share of the CPU time: by hand, and on this machine."""

import pytest

from diffenc_jax.lab.costs.load import CpuTimes, cpu_times, share_of_others, upper_bounds

BEFORE = CpuTimes(all=100.0, busy=40.0, own=8.0)


@pytest.mark.parametrize(
    ("after", "share"),
    [
        (CpuTimes(120.0, 55.0, 18.0), 0.25),
        (CpuTimes(120.0, 50.0, 18.0), 0.0),
        (CpuTimes(120.0, 49.9, 18.0), 0.0),  # ticks
        (CpuTimes(100.4, 40.3, 8.0), None),  # too short for the ticks
        (None, None),
    ],
)
def test_the_share_is_what_is_neither_idle_nor_ours(after, share):
    assert share_of_others(BEFORE, after) == (share and pytest.approx(share))


@pytest.mark.skipif(cpu_times() is None, reason="this system does not count as Linux does")
def test_our_own_time_is_not_that_of_others():
    before = after = cpu_times()
    while after.all - before.all < 1.0:
        after = cpu_times()
    own, busy, every = (later - earlier for later, earlier in zip(after[::-1], before[::-1], strict=True))
    assert 0 < own <= busy + 0.05 <= every + 0.05
    assert share_of_others(before, after) == pytest.approx(max(0, busy - own) / every)


def test_only_a_large_share_is_told():
    assert upper_bounds({"vdm": 0.04, "diffenc": None}) == ""
    line = upper_bounds({"vdm": 0.04, "diffenc": 0.436, "nontrainable": 0.051})
    assert line.endswith("44 % during the steps of diffenc, 5 % during the steps of nontrainable.")

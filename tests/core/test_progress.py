"""Progress in logs, by a clock that the tests set, and on terminals of several widths."""

import io
import re
from itertools import pairwise

import pytest
from rich.console import Console

from diffenc_jax.core.progress import Display, RunProgress

BATCH, METRICS = 64, {"bpd": 1.89124, "diffusion": 1.7}


class Clock:
    """Seconds that pass only when a test says so."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log():
    return Console(file=io.StringIO(), width=200)


def train(progress, clock, steps, seconds=0.5, metrics=METRICS):
    """Steps that take `seconds` each, of which every tenth is logged."""
    for step in steps:
        clock.now += seconds
        progress.show_step(step, lambda: metrics, step % 10 == 0)


def read(console):
    return console.file.getvalue().splitlines()


def test_a_log_has_lines_at_once_and_at_the_end(clock, log):
    with RunProgress(log, 30, BATCH, clock) as progress:
        with progress.compiling():
            assert read(log) == ["compiling"]
            clock.now += 65
        train(progress, clock, range(1, 30))
        train(progress, clock, [30], metrics={})
    assert read(log)[1:] == [
        "compiled in 0:01:05",
        "step 1/30  3 %  training 1.8912 bits/dim  0:01:06 so far",
        "step 30/30  100 %  no finite step  128 images/s  took 0:01:20",
    ]


def test_a_log_has_a_line_each_half_minute_and_later_each_ten_minutes(clock, log):
    progress, begun, times = RunProgress(log, 10**6, BATCH, clock), clock.now, []
    for step in range(1, 1000):
        before = len(read(log))
        train(progress, clock, [step], 20.0)
        times += [clock.now - begun] * (len(read(log)) - before)
    gaps = [after - before for before, after in pairwise(times[1:])]
    assert 30 <= min(gaps) <= 40
    assert 600 <= max(gaps) < 640
    assert gaps == sorted(gaps)


def test_the_rate_is_that_of_steps(clock, log):
    """Compiling, the first step and evaluations count into no rate, and neither does what an earlier process did."""
    progress = RunProgress(log, 1000, BATCH, clock)
    progress.resume(700)
    train(progress, clock, [701], seconds=50)
    assert progress.rate(701) is None
    train(progress, clock, range(702, 711))
    assert progress.rate(710) == pytest.approx(BATCH / 0.5)
    train(progress, clock, range(711, 721), seconds=0.25)
    with progress.evaluating(), progress.task("evaluating", 10) as advance:
        clock.now += 18
        advance()
    train(progress, clock, range(721, 731), seconds=0.25)
    assert progress.rate(730) == pytest.approx(BATCH / 0.25)


def test_metrics_are_read_only_for_what_is_shown(clock, log):
    progress, read_at = RunProgress(log, 1000, BATCH, clock), []
    for step in range(1, 101):
        clock.now += 1
        progress.show_step(step, lambda step=step: read_at.append(step) or METRICS, step in (50, 55))
    assert read_at == [1, 31, 50, 55, 61, 91]


def test_a_log_of_other_work(clock, log):
    with Display(log, clock=clock).task("sampling", 4.0) as advance:
        for _ in range(8):
            clock.now += 20
            advance(0.5)
    assert read(log) == [
        "sampling",
        "sampling  25 %  left 0:02:00",
        "sampling  50 %  left 0:01:20",
        "sampling  75 %  left 40 s",
        "sampling  100 %  took 0:02:40",
    ]


@pytest.mark.parametrize("width", [20, 50, 80, 200])
def test_a_terminal_has_bars_within_its_width(clock, width):
    """Those of other work than training are gone in the end."""
    console = Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=width, color_system=None)
    with RunProgress(console, 10**7, BATCH, clock) as progress:
        train(progress, clock, range(1, 50), seconds=10)
        with progress.task("evaluating test at step 1000000", 10) as advance:
            advance()
            progress.refresh()
    drawn = re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "\n", console.file.getvalue()).rstrip())
    assert max(map(len, drawn)) <= width
    assert any("eval" in line for line in drawn)
    assert "eval" not in drawn[-1]

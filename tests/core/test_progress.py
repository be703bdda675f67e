"""Progress on terminals of several widths and in logs, by a clock that the tests set."""

import io
import re
from itertools import pairwise

import pytest
from rich.console import Console

from diffenc_jax.core.progress import Bar, Display, RunProgress

STEPS, BATCH = 1000, 64
METRICS = {"bpd": 1.89124, "diffusion": 1.7, "latent": 0.001}


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def terminal(width):
    return Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=width, color_system=None)


def log():
    return Console(file=io.StringIO(), width=200)


def frame(display, width):
    """The lines of the bars on a terminal, as wide as they are."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    console.print(display)
    return console.file.getvalue().splitlines()


def run_progress(console, clock, **changes):
    return RunProgress(
        console, **{"steps": STEPS, "batch_size": BATCH, "eval_every": 10 * STEPS} | changes, clock=clock
    )


def train(progress, clock, steps, seconds=0.5, every=10, metrics=METRICS):
    """Steps that take `seconds` each, logged `every` so many."""
    for step in steps:
        clock.now += seconds
        progress.advance(step, lambda: metrics, step % every == 0)


def read(console):
    return console.file.getvalue().splitlines()


def test_it_compiles_only_while_it_compiles(clock):
    progress = run_progress(terminal(80), clock)
    assert "compiling" not in frame(progress, 80)[0]
    with progress.compiling():
        clock.now += 12
        assert frame(progress, 80)[0].endswith("compiling 12 s")
        clock.now += 60
        assert frame(progress, 80)[0].endswith("compiling 0:01:12")
    assert "compiling" not in frame(progress, 80)[0]


def test_neither_compiling_nor_the_first_step_slows_the_rate(clock):
    progress = run_progress(terminal(80), clock)
    with progress.compiling():
        clock.now += 100
    train(progress, clock, [1], seconds=50)
    assert "images/s" not in frame(progress, 80)[0]
    train(progress, clock, range(2, 21))
    (line,) = frame(progress, 80)
    assert "step 20/1000" in line
    assert f"{BATCH / 0.5:.0f} images/s" in line
    assert line.endswith("left 0:08:10")  # 980 steps
    assert progress.rate(20) == pytest.approx(19 * BATCH / (19 * 0.5))
    train(progress, clock, range(21, 31), seconds=0.25)
    assert progress.rate(30) == pytest.approx(BATCH / 0.25)


def test_the_time_left_counts_down_between_steps_and_follows_the_last_minute(clock):
    progress = run_progress(terminal(80), clock)
    train(progress, clock, range(1, 101), seconds=0.1)
    train(progress, clock, range(101, 201), seconds=1.0)
    assert frame(progress, 80)[0].endswith("left 0:13:20")
    clock.now += 20
    assert frame(progress, 80)[0].endswith("left 0:13:00")


def test_a_resumed_run_shows_its_step_at_once(clock):
    progress = run_progress(terminal(50), clock)
    progress.resume(700)
    assert frame(progress, 50)[0].startswith("step 700/1000 ")
    train(progress, clock, [701], seconds=99)
    train(progress, clock, range(702, 711))
    assert frame(progress, 50)[0].endswith("left 0:02:25")


def test_an_evaluation_has_its_own_bar_and_slows_no_rate(clock):
    progress = run_progress(terminal(80), clock, eval_every=250)
    train(progress, clock, range(1, 251))
    with progress.evaluating(), progress.task("evaluating test at step 250", 10) as advance:
        assert frame(progress, 80)[0].endswith("evaluating 0 s")
        for _ in range(4):
            clock.now += 3
            advance()
        above, below = frame(progress, 80)
        assert above.endswith("evaluating 12 s")
        assert below.startswith("evaluating test at step 250  40 %")
        assert below.endswith("left 18 s")
        clock.now += 18
    train(progress, clock, range(251, 261))
    (line,) = frame(progress, 80)
    assert f"{BATCH / 0.5:.0f} images/s" in line
    assert line.endswith("left 0:07:10")  # 740 steps, and the evaluations of steps 500 and 750, of 30 s each
    assert progress.rate(260) == pytest.approx(BATCH / 0.5)


@pytest.mark.parametrize("width", [20, 30, 50, 80, 200])
def test_a_bar_is_one_line_at_any_width(clock, width):
    console = terminal(width)
    with run_progress(console, clock, steps=10**7) as progress:
        with progress.compiling():
            assert max(map(len, frame(progress, width))) <= width
        train(progress, clock, range(1, 500), seconds=10)
        with progress.evaluating(), progress.task("evaluating test at step 1000000", 10) as advance:
            advance()
            assert len(frame(progress, width)) == 2
            assert max(map(len, frame(progress, width))) <= width
    drawn = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "\n", console.file.getvalue())
    assert max(map(len, re.split(r"[\r\n]", drawn))) <= width


def test_a_narrow_terminal_gives_up_the_least_useful(clock):
    progress = run_progress(terminal(80), clock)
    train(progress, clock, range(1, 201))
    parts = ["step 200/1000", "left 0:06:40", "1.8912 bits/dim", "━", "128 images/s"]
    shown = [[part in frame(progress, width)[0] for part in parts] for width in (14, 30, 44, 60, 80, 200)]
    assert [row.count(True) for row in shown] == [1, 2, 3, 4, 5, 5]
    assert all(not (later and not earlier) for row in shown for earlier, later in pairwise(row))


def test_a_long_name_gives_up_its_middle(clock):
    display = Display(terminal(80), clock=clock)
    display.bars += [Bar(f"diffenc-transformer, seed {seed}", 1000, in_steps=True, clock=clock) for seed in (3, 4)]
    lines = frame(display, 40)
    assert [line.split("  ")[0][-7:] for line in lines] == [" seed 3", " seed 4"]
    assert all("step 0/1000" in line for line in lines)
    assert frame(display, 80)[0].startswith("diffenc-transformer, seed 3 ")


def test_the_last_frame_says_what_it_took(clock):
    console = terminal(80)
    with run_progress(console, clock, steps=100) as progress:
        train(progress, clock, range(1, 101))
        clock.now += 600  # the last evaluation
        assert frame(progress, 80)[0].endswith("took 50 s")
    assert console.file.getvalue().rsplit("step 100/100", 1)[1].rstrip("\n\x1b[?25h").endswith("took 50 s")


def test_steps_that_are_not_finite_are_named(clock):
    progress = run_progress(terminal(80), clock)
    train(progress, clock, range(1, 11), metrics={})
    assert "no finite step" in frame(progress, 80)[0]


def test_a_log_has_lines_at_once_and_at_the_end_each_complete(clock):
    console = log()
    with run_progress(console, clock, steps=30) as progress:
        with progress.compiling():
            assert read(console) == ["compiling"]
            clock.now += 65
        train(progress, clock, [1])
        assert read(console)[1:] == [
            "compiled in 0:01:05",
            "step 1/30  1.8912 bits/dim  0:01:06 so far  (diffusion 1.7000, latent 0.0010)",
        ]
        train(progress, clock, range(2, 31))
    assert read(console)[3:] == [
        "step 30/30  1.8912 bits/dim  128 images/s  took 0:01:20  (diffusion 1.7000, latent 0.0010)"
    ]


def line_times(clock, console, progress, seconds, steps=STEPS):
    """Seconds after the first step at which a log has a line."""
    begun, times = clock.now, []
    for step in range(1, steps):
        before = len(read(console))
        train(progress, clock, [step], seconds, every=10**6)
        times += [clock.now - begun] * (len(read(console)) - before)
    return times[1:]


def test_a_log_has_a_line_each_half_minute_and_later_each_ten_minutes(clock):
    console = log()
    times = line_times(clock, console, run_progress(console, clock, steps=10**6), seconds=20.0)
    gaps = [after - before for before, after in pairwise(times)]
    assert 30 <= min(gaps) <= 40
    assert 600 <= max(gaps) < 640
    assert gaps == sorted(gaps)
    assert all(re.match(r"step \d+/1000000  1\.8912 bits/dim  3 images/s  left ", line) for line in read(console)[1:])


def test_metrics_are_read_only_for_what_is_shown(clock):
    progress, read_at = run_progress(log(), clock), []
    for step in range(1, 201):
        clock.now += 1
        progress.advance(step, lambda step=step: read_at.append(step) or METRICS, step in (50, 55))
    assert read_at == [1, 31, 50, 55, 61, 91, 121, 151, 181]


def test_a_log_of_other_work(clock):
    console = log()
    display = Display(console, clock=clock)
    with display.task("sampling", 4.0) as advance:
        assert read(console) == ["sampling"]
        for _ in range(8):
            clock.now += 20
            advance(0.5)
    assert read(console)[1:] == [
        "sampling  25 %  left 0:02:00",
        "sampling  50 %  left 0:01:20",
        "sampling  75 %  left 40 s",
        "sampling  100 %  took 0:02:40",
    ]


def test_the_time_left_of_uneven_work_is_by_the_whole_time(clock):
    """Two parts in three minutes at first, then none in ten: the rate of the last minute would be that of a pause."""
    display = Display(log(), clock=clock)
    with display.task("study", 10) as advance:
        for seconds in (30.0, 60.0, 60.0, 600.0):
            clock.now += seconds
            advance()
        assert frame(display, 80)[0].endswith("left 0:24:00")  # 720 seconds for three parts, six more


def test_other_work_leaves_no_bar_on_a_terminal(clock):
    console = terminal(60)
    with Display(console, transient=True, clock=clock) as display, display.task("sampling", 4) as advance:
        clock.now += 5
        assert re.fullmatch(r"sampling  0 %  .* 5 s so far", frame(display, 60)[0])
        advance()  # includes compiling, and counts into no rate
        clock.now += 2
        advance()
        assert re.fullmatch(r"sampling  50 %  .* left 4 s", frame(display, 60)[0])
    assert frame(display, 60) == []

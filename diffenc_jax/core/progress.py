"""Progress of long work: bars on a terminal, and elsewhere lines, one at once and others at growing intervals."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from diffenc_jax.core.numbers import format_duration
from diffenc_jax.core.text import printable

Clock = Callable[[], float]
Advance = Callable[..., None]

# Seconds between two lines of a log: a tenth of the time so far, within these limits.
SHORTEST, LONGEST = 30.0, 600.0
# The rate of steps is measured over the last WINDOW seconds.
WINDOW = 60.0
# Columns of a bar from left to right, with the width of a terminal from which they are shown.
COLUMNS = {"name": 0, "count": 0, "bar": 60, "values": 44, "rate": 72, "time": 30}
GAP, SHORTEST_NAME, OTHERS = 2, 15, 48  # columns between two texts, of a name that is cut, and of all that follows it


class Bar:
    """A piece of work: how much of it is done, and the time that is left.

    Attributes:
      name: what is done; '' if that is clear.
      total: amount of work; None if it is not known.
      in_steps: whether the work consists of equal steps: amounts are shown as 'step 3/10', and the time left follows
        the rate of the last minute. Amounts of other work are shown as '30 %', and its rate is that of the whole time.
      done: amount of work that is done.
      values: results so far, such as the loss.
      rate: speed, such as images per second.
      details: further results, which only lines of a log show.
      later: seconds of other work before the end.
      clock: () -> seconds.
      begun: time at which the work began, that of the construction.
    """

    def __init__(
        self,
        name: str,
        total: float | None,
        in_steps: bool = False,
        done: float = 0.0,
        clock: Clock = time.perf_counter,
    ):
        self.name, self.total, self.done = name, total, done
        self.values = self.rate = self.details = ""
        self.later = 0.0
        self.in_steps, self.clock = in_steps, clock
        self.begun = self._said = clock()
        self._ended: float | None = None
        self._doing: tuple[str, float] | None = None
        self._marks: deque[tuple[float, float]] = deque()  # (time, amount done)
        self.seconds_per_unit: float | None = None

    def advance(self, done: float) -> None:
        """Note that the amount `done` is done. The time before the first call counts into no rate."""
        if done == self.done:
            return
        is_first, self.done, now = not self._marks or done < self.done, done, self.clock()
        if is_first:
            self.restart()
            return
        self._marks.append((now, done))
        while self.in_steps and len(self._marks) > 2 and now - self._marks[1][0] > WINDOW:
            self._marks.popleft()
        then, before = self._marks[0]
        self.seconds_per_unit = (now - then) / (done - before)

    def restart(self) -> None:
        """Leave the time until now out of the rate."""
        self._marks = deque([(self.clock(), self.done)])

    def set_doing(self, what: str) -> None:
        """Show `what` is done, and since when, in place of the time that is left; '' ends it."""
        if what != (self._doing or ("",))[0]:
            self._doing = (what, self.clock()) if what else None

    def end(self) -> None:
        """Show the time that the work took; later calls have no effect."""
        self._ended = self._ended or self.clock()

    def is_due(self) -> bool:
        """Whether it is time for another line of a log."""
        now = self.clock()
        return now - self._said >= min(max((now - self.begun) / 10, SHORTEST), LONGEST)

    def line(self) -> str:
        """The line of a log that says everything; the next one is due an interval later."""
        self._said = self.clock()
        return "  ".join(filter(None, [*self.columns().values(), self.details and f"({self.details})"]))

    def columns(self) -> dict[str, str]:
        """Texts by column, without that of the bar."""
        count = ""
        if self.total is not None:
            share = min(self.done / max(self.total, 1e-9), 1.0)
            count = f"step {self.done:.0f}/{self.total:.0f}" if self.in_steps else f"{int(100 * share + 1e-6)} %"
        return {"name": self.name, "count": count, "values": self.values, "rate": self.rate, "time": self._time()}

    def left(self) -> float | None:
        """Seconds until all is done; None as long as no rate is known."""
        if self.total is None or self.seconds_per_unit is None:
            return None
        return self.seconds_per_unit * (self.total - self.done) - (self.clock() - self._marks[-1][0])

    def _time(self) -> str:
        now, left, doing = self.clock(), self.left(), self._doing  # which another thread may change
        if self._ended is not None:
            return f"took {format_duration(self._ended - self.begun)}"
        if doing is not None:
            return f"{doing[0]} {format_duration(now - doing[1])}"
        if left is None:
            return f"{format_duration(now - self.begun)} so far"
        return f"left {format_duration(max(left, 0.0) + self.later)}"


class Display:
    """Bars that are drawn while a context is open; without a terminal, lines about them.

    Attributes:
      bars: the bars, from top to bottom.
      is_live: whether they are drawn.
    """

    def __init__(self, console: Console, transient: bool = False, clock: Clock = time.perf_counter):
        """A display on `console`; `transient` erases the bars in the end."""
        self.bars: list[Bar] = []
        self.is_live = console.is_interactive
        self._console, self._clock = console, clock
        self._live = Live(self, console=console, refresh_per_second=4, transient=transient)

    def __enter__(self) -> Self:
        if self.is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for _, bars in groupby(list(self.bars), lambda bar: bar.in_steps):
            yield _drawn(list(bars), options.max_width)

    def print_line(self, text: str) -> None:
        """Print a line, above the bars."""
        self._console.print(printable(text), highlight=False, markup=False, emoji=False, soft_wrap=True)

    def say(self, what: Bar | str) -> None:
        """Print a line for a log, or that of a bar, unless bars are drawn."""
        line = what if isinstance(what, str) else what.line()
        if not self.is_live:
            self.print_line(line)

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Advance]:
        """Show work while the block does it; yields `advance(part=1)`, to be called after each part of `total`."""
        bar, said = Bar(name, total, clock=self._clock), False
        self.say(name)

        def advance(part: float = 1) -> None:
            nonlocal said
            bar.advance(bar.done + part)
            if bar.is_due() and bar.done < total:
                said = True
                self.say(bar)

        self.bars.append(bar)
        try:
            yield advance
        finally:
            self.bars.remove(bar)
        bar.end()
        if said:
            self.say(bar)


@contextmanager
def watching(console: Console, name: str, total: float) -> Iterator[Advance]:
    """Show work while the block does it; yields `advance(part=1)`, to be called after each part of `total`."""
    with Display(console, transient=True) as display, display.task(name, total) as advance:
        yield advance


class RunProgress(Display):
    """Progress of a training run: its step, bits/dim, images per second, and the time that is left.

    The time left counts the evaluations before the last step as long as the last one took.
    """

    def __init__(
        self, console: Console, steps: int, batch_size: int, eval_every: int, clock: Clock = time.perf_counter
    ):
        """Progress of a run of `steps` steps with `batch_size` images, evaluated every `eval_every` steps."""
        super().__init__(console, clock=clock)
        self._bar = Bar("", steps, in_steps=True, clock=clock)
        self.bars.append(self._bar)
        self._steps, self._batch_size, self._eval_every = steps, batch_size, eval_every
        self._eval_seconds, self._rated = 0.0, (0, clock())
        self._start = 0

    def __exit__(self, *error: object) -> None:
        self._bar.end()
        super().__exit__(*error)

    def resume(self, step: int) -> None:
        """Continue from `step`."""
        self._start = self._bar.done = step

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Show that the block compiles."""
        begun = self._clock()
        self.say("compiling")
        self._bar.set_doing("compiling")
        yield
        self._bar.set_doing("")
        self.say(f"compiled in {format_duration(self._clock() - begun)}")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Show that the run is evaluated in the block, whose time counts into no rate."""
        begun = self._clock()
        self._bar.set_doing("evaluating")
        yield
        self._bar.set_doing("")
        self._eval_seconds = self._clock() - begun
        self._restart()

    def rate(self, step: int) -> float | None:
        """Images per second since the last call, without pauses and the first step; None if `step` is the first."""
        (rated, then), now = self._rated, self._clock()
        self._rated = step, now
        return None if step == self._start + 1 else self._batch_size * (step - rated) / max(now - then, 1e-9)

    def advance(self, step: int, scalars: Callable[[], dict[str, float]], is_logged: bool) -> None:
        """Show that `step` is done.

        Args:
          step: number of the step.
          scalars: () -> averages of the metrics since the last log; called only when they are shown.
          is_logged: whether they are logged at this step.
        """
        bar, first = self._bar, step == self._start + 1
        bar.advance(step)
        if first:
            self._restart()
        if bar.seconds_per_unit is not None:
            bar.rate = f"{self._batch_size / max(bar.seconds_per_unit, 1e-9):,.0f} images/s"
        bar.later = self._eval_seconds * ((self._steps - 1) // self._eval_every - step // self._eval_every)
        if step == self._steps:
            bar.end()
        is_due = first or step == self._steps or bar.is_due()
        if is_logged or is_due:
            self._show(scalars())
        if is_due:
            self.say(bar)

    def _show(self, scalars: dict[str, float]) -> None:
        bar = self._bar
        bar.values = f"{scalars['bpd']:.4f} bits/dim" if "bpd" in scalars else "no finite step"
        names = [name for name in ("diffusion", "latent", "reconstruction") if name in scalars]
        bar.details = ", ".join(f"{name} {scalars[name]:.4f}" for name in names)

    def _restart(self) -> None:
        self._bar.restart()
        self._rated = int(self._bar.done), self._clock()


def _drawn(bars: list[Bar], width: int) -> Table:
    """Bars of one kind as a grid of `width` columns; a narrow terminal has fewer of `COLUMNS`."""
    rows = [bar.columns() for bar in bars]
    shown = [n for n, least in COLUMNS.items() if width >= least and (n == "bar" or any(row[n] for row in rows))]
    grid = Table.grid(padding=(0, GAP, 0, 0), expand="bar" in shown)
    for name in shown:
        grid.add_column(
            no_wrap=True, ratio=1 if name == "bar" else None, justify="right" if name == "count" else "left"
        )
    for bar, row in zip(bars, rows, strict=True):
        row["name"] = _shortened(row["name"], max(width - OTHERS, SHORTEST_NAME))
        drawn = ProgressBar(bar.total or 1.0, bar.done)
        grid.add_row(*(drawn if name == "bar" else Text(row[name]) for name in shown))
    return grid


def _shortened(text: str, width: int) -> str:
    """`text` without its middle, if it is longer than `width`."""
    end = (width - 1) // 2
    return text if len(text) <= width else f"{text[: width - 1 - end]}…{text[-end:]}"

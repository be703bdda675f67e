"""Progress of long work: bars on a terminal; elsewhere lines, the first at once, the others at intervals."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Timer

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn

from diffenc_jax.core import terminal
from diffenc_jax.core.numbers import format_duration

Clock = Callable[[], float]

# Seconds between two lines of a log: a tenth of the time so far, within these limits.
SHORTEST, LONGEST = 30.0, 600.0
# Seconds after which a call says why it is slow.
SLOW = 60.0
# Window, in seconds, of the rate behind the remaining time; rich keeps at most 1,000 samples.
WINDOW = 3600.0


class Display(Progress):
    """Bars that are drawn while a context is open; without a terminal, lines about them."""

    def __init__(self, console: Console, transient: bool = False, clock: Clock = time.perf_counter):
        """A display on `console`; `transient` erases the bars in the end."""
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[values]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            refresh_per_second=4,
            transient=transient,
            speed_estimate_period=WINDOW,
            get_time=clock,
            disable=not console.is_interactive,
        )

    def begin(self, name: str, total: float) -> Task:
        """Add a bar with a text `values` about its results; returns the bar."""
        number = self.add_task(name, total=total, values="", said=self.get_time())
        return next(task for task in self.tasks if task.id == number)

    def is_due(self, bar: Task) -> bool:
        """Whether the next line of a log about a bar is due."""
        return self.get_time() - bar.fields["said"] >= min(max((bar.elapsed or 0) / 10, SHORTEST), LONGEST)

    def say_about(self, bar: Task) -> None:
        """Print a bar's name, percentage, results and times for a log. The next line is due an interval later."""
        bar.fields["said"], left, elapsed = self.get_time(), bar.time_remaining, format_duration(bar.elapsed or 0)
        if bar.finished:
            clock = f"took {elapsed}"
        else:
            clock = f"{elapsed} so far" if left is None else f"left {format_duration(left)}"
        self.say("  ".join(filter(None, [bar.description, f"{bar.percentage:.0f} %", bar.fields["values"], clock])))

    def print_line(self, text: str) -> None:
        """Print a line, above the bars."""
        terminal.print_line(self.console, text)

    def say(self, line: str) -> None:
        """Print a line for a log, unless bars are drawn."""
        if self.disable:
            self.print_line(line)

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Callable[..., None]]:
        """Show the progress of the block; yields `advance(part=1)`, to be called after each part of `total`."""
        self.say(name)
        bar = self.begin(name, total)

        def advance(part: float = 1) -> None:
            self.update(bar.id, advance=part)
            if self.is_due(bar):
                self.say_about(bar)

        try:
            yield advance
        finally:
            self.remove_task(bar.id)


@contextmanager
def progress_of_call(name: str, total: float, slow: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """Progress of a function that a user calls, on standard error: a bar on a terminal, nothing elsewhere.

    After a minute a line says `slow()`, everywhere.

    Yields:
      `advance()`, to be called after each part of `total`.
    """
    with Display(Console(stderr=True), transient=True) as display:
        timer = Timer(SLOW, lambda: display.print_line(f"{name} has taken a minute: {slow()}"))
        timer.daemon = True
        timer.start()
        try:
            yield partial(display.advance, display.begin(name, total).id)
        finally:
            timer.cancel()


class RunProgress(Display):
    """Progress of a training run: step, bits/dim, images per second, and remaining time."""

    def __init__(self, console: Console, steps: int, batch_size: int, clock: Clock = time.perf_counter):
        """Progress of a run of `steps` steps with `batch_size` images."""
        super().__init__(console, clock=clock)
        self._steps, self._batch_size, self._start, self._rated = steps, batch_size, 0, (0, clock())
        self._bar = self.begin("", steps)

    def resume(self, step: int) -> None:
        """Continue from `step`; earlier steps do not count for the rate."""
        self._start = step
        self.reset(self._bar.id, completed=step)

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Show that the block compiles."""
        begun = self.get_time()
        self.say("compiling")
        self.update(self._bar.id, description="compiling")
        yield
        self.say(f"compiled in {format_duration(self.get_time() - begun)}")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Leave the time of the block, which evaluates, out of the rate."""
        yield
        self._rated = int(self._bar.completed), self.get_time()

    def rate(self, step: int) -> float | None:
        """Images per second since the last call, without evaluations and the first step; None at the first step."""
        (rated, then), now = self._rated, self.get_time()
        self._rated = step, now
        return None if step == self._start + 1 else self._batch_size * (step - rated) / max(now - then, 1e-9)

    def show_step(self, step: int, scalars: Callable[[], dict[str, float]], is_logged: bool) -> None:
        """Show that `step` is done.

        Args:
          step: number of the step.
          scalars: function that returns averages of the metrics since the last log; called only to show them.
          is_logged: whether metrics are logged at this step.
        """
        bar, is_first = self._bar, step == self._start + 1
        if is_first:
            self._rated = step, self.get_time()
        is_due = is_first or step == self._steps or self.is_due(bar)
        values = bar.fields["values"]
        if is_logged or is_due:
            bpd = scalars().get("bpd")
            values = "no finite step" if bpd is None else f"training {bpd:.4f} bits/dim"
            if bar.speed:
                values += f"  {self._batch_size * bar.speed:,.0f} images/s"
        self.update(bar.id, completed=step, values=values, description=f"step {step}/{self._steps}")
        if is_due:
            self.say_about(bar)

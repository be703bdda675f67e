"""Progress of long work: bars on a terminal; elsewhere lines, the first at once, the others at intervals."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from diffenc_jax.core.numbers import format_duration
from diffenc_jax.core.text import printable

Clock = Callable[[], float]

# Seconds between two lines of a log: a tenth of the time so far, within these limits.
SHORTEST, LONGEST = 30.0, 600.0
# Window, in seconds, of the rate behind the remaining time; rich keeps at most 1,000 samples.
WINDOW = 3600.0


class Bar:
    """A task of a `Display`, with a text about its results."""

    def __init__(self, progress: Progress, name: str, total: float):
        self._progress, self._clock = progress, progress.get_time
        self._begun = self._said = self._clock()
        number = progress.add_task(name, total=total, values="")
        self.task = next(task for task in progress.tasks if task.id == number)

    def show(self, done: float, values: str = "", name: str | None = None) -> None:
        """Show the amount `done`, a text about the results, and another name unless it is None."""
        self._progress.update(self.task.id, completed=done, values=values, description=name)

    def is_due(self) -> bool:
        """Whether it is time for another line of a log."""
        now = self._clock()
        return now - self._said >= min(max((now - self._begun) / 10, SHORTEST), LONGEST)

    def line(self) -> str:
        """A line for a log: name, percentage, results and times. The next line is due an interval later."""
        self._said = now = self._clock()
        task, left = self.task, self.task.time_remaining
        if task.finished:
            clock = f"took {format_duration(now - self._begun)}"
        else:
            clock = f"{format_duration(now - self._begun)} so far" if left is None else f"left {format_duration(left)}"
        return "  ".join(filter(None, [task.description, f"{task.percentage:.0f} %", task.fields["values"], clock]))


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

    def print_line(self, text: str) -> None:
        """Print a line, above the bars."""
        self.console.print(printable(text), highlight=False, markup=False, emoji=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print a line for a log, unless bars are drawn."""
        if self.disable:
            self.print_line(line)

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Callable[..., None]]:
        """Show the progress of the block; yields `advance(part=1)`, to be called after each part of `total`."""
        self.say(name)
        bar = Bar(self, name, total)

        def advance(part: float = 1) -> None:
            bar.show(bar.task.completed + part)
            if bar.is_due():
                self.say(bar.line())

        try:
            yield advance
        finally:
            self.remove_task(bar.task.id)


class RunProgress(Display):
    """Progress of a training run: step, bits/dim, images per second, and remaining time."""

    def __init__(self, console: Console, steps: int, batch_size: int, clock: Clock = time.perf_counter):
        """Progress of a run of `steps` steps with `batch_size` images."""
        super().__init__(console, clock=clock)
        self._steps, self._batch_size, self._start, self._rated = steps, batch_size, 0, (0, clock())
        self._bar = Bar(self, "", steps)

    def resume(self, step: int) -> None:
        """Continue from `step`; earlier steps do not count for the rate."""
        self._start = step
        self.reset(self._bar.task.id, completed=step)

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Show that the block compiles."""
        begun = self.get_time()
        self.say("compiling")
        self._bar.show(self._start, name="compiling")
        yield
        self.say(f"compiled in {format_duration(self.get_time() - begun)}")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Leave the time of the block, which evaluates, out of the rate."""
        yield
        self._rated = int(self._bar.task.completed), self.get_time()

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
        is_due = is_first or step == self._steps or bar.is_due()
        values = bar.task.fields["values"]
        if is_logged or is_due:
            bpd = scalars().get("bpd")
            values = "no finite step" if bpd is None else f"training {bpd:.4f} bits/dim"
            if bar.task.speed:
                values += f"  {self._batch_size * bar.task.speed:,.0f} images/s"
        bar.show(step, values, f"step {step}/{self._steps}")
        if is_due:
            self.say(bar.line())

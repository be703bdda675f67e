"""Progress of a training run: a bar on a terminal, one line per log elsewhere."""

import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunProgress:
    """Shows the step, bits/dim, images per second and the remaining time of a run.

    Args:
      console: where they are shown.
      start: number of steps that are done already.
      steps: number of steps of the whole run.
      batch_size: images per step.
    """

    def __init__(self, console: Console, start: int, steps: int, batch_size: int):
        self._console, self._steps, self._batch_size = console, steps, batch_size
        self._timed_from, self._start_time = start, time.perf_counter()
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("compiling", total=steps, completed=start)

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar to `step`."""
        self._bar.update(self._task, completed=step)

    def restart_clock(self, step: int) -> None:
        """Measure the rate from `step` on, without the time that compiling or evaluating took."""
        self._timed_from, self._start_time = step, time.perf_counter()

    def log(self, step: int, scalars: dict[str, float]) -> float:
        """Show the metrics of `step`; returns images per second since the last call, and restarts the clock."""
        seconds = (time.perf_counter() - self._start_time) / max(step - self._timed_from, 1)
        self.restart_clock(step)
        rate = self._batch_size / max(seconds, 1e-9)
        bits = f"{scalars['bpd']:.4f} bits/dim" if "bpd" in scalars else "no finite step"
        text = f"{bits}  {rate:,.0f} images/s"
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal:
            left = timedelta(seconds=round(seconds * (self._steps - step)))
            names = [name for name in ("diffusion", "latent", "reconstruction") if name in scalars]
            terms = ", ".join(f"{name} {scalars[name]:.4f}" for name in names)
            self.print_line(f"step {step}/{self._steps}  {text}  left {left}  ({terms})")
        return rate

    def print_line(self, text: str) -> None:
        """Print a line, above the bar."""
        self._bar.console.print(text, highlight=False, soft_wrap=True)

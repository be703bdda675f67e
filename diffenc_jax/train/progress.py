"""What a person sees of a run: a bar on a terminal, a line a log elsewhere."""

import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunProgress:
    """Shows steps, bits/dim, images a second and the time left."""

    def __init__(self, console: Console, start: int, steps: int, batch_size: int):
        self._console, self._steps, self._batch_size = console, steps, batch_size
        self._logged_step, self._logged_time = start, time.perf_counter()
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
        """Moves the bar to `step`."""
        self._bar.update(self._task, completed=step)

    def resume(self, step: int) -> None:
        """Starts the clock of images a second anew, after compilation or an evaluation."""
        self._logged_step, self._logged_time = step, time.perf_counter()

    def log(self, step: int, scalars: dict[str, float]) -> float:
        """Shows `scalars` of `step`; returns images a second since the last call."""
        seconds = (time.perf_counter() - self._logged_time) / max(step - self._logged_step, 1)
        self.resume(step)
        rate = self._batch_size / max(seconds, 1e-9)
        bits = f"{scalars['bpd']:.4f} bits/dim" if "bpd" in scalars else "nothing"
        text = f"{bits}  {rate:,.0f} images/s"
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal:
            left = timedelta(seconds=round(seconds * (self._steps - step)))
            shown = [name for name in ("diffusion", "latent", "reconstruction") if name in scalars]
            by_term = ", ".join(f"{name} {scalars[name]:.4f}" for name in shown)
            self._console.print(
                f"step {step}/{self._steps}  {text}  left {left}  ({by_term})", highlight=False, soft_wrap=True
            )
        return rate

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._bar.console.print(text, highlight=False, soft_wrap=True)

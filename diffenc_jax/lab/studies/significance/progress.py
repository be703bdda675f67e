"""Progress of running jobs, read from the metrics of their runs."""

import time
from collections.abc import Sequence

from rich.console import Console

from diffenc_jax.core.progress import Bar, Clock, Display
from diffenc_jax.lab.studies.significance.processes import Job
from diffenc_jax.runs.metrics import newest_metrics

# Seconds between two readings of the metrics. In a bucket each reading is a request per run.
READ_SECONDS = 5.0


class JobsProgress(Display):
    """A bar for a list of jobs, and one per running job."""

    def __init__(self, console: Console, count: int, clock: Clock = time.perf_counter):
        """Bars for `count` jobs on `console`, which disappear in the end."""
        super().__init__(console, transient=True, clock=clock)
        self._count, self._next_read = count, clock()
        self._all = Bar("", count, clock=clock)
        self._bars: dict[str, Bar] = {}

    def show(self, running: Sequence[Job], ended: int) -> None:
        """Show the `running` jobs and that `ended` jobs have ended; reads metrics now and then."""
        if self._clock() < self._next_read:
            return
        self._next_read = self._clock() + READ_SECONDS
        self._bars = {job.name: self._bars.get(job.name) or self._begin(job) for job in running}
        for job in running:
            _read(job, self._bars[job.name])
        self._all.name = f"{ended} of {self._count} done"
        # An evaluation counts as a step, so that no job is done before it ends.
        self._all.advance(ended + sum(bar.done / (bar.total + 1) for bar in self._bars.values() if bar.total))
        self.bars[:] = [self._all] * (self._count > 1) + list(self._bars.values())
        for bar in self.bars:
            if bar.is_due():
                self.say(bar)

    def _begin(self, job: Job) -> Bar:
        done = 0 if job.workdir is None else newest_metrics(job.workdir)[0]
        bar = Bar(job.name, job.steps, in_steps=True, done=done, clock=self._clock)
        bar.set_doing("" if job.workdir is None else "starting")
        return bar


def _read(job: Job, bar: Bar) -> None:
    if job.workdir is None or job.steps is None:
        return
    step, bpd = newest_metrics(job.workdir)
    if step != bar.done:
        bar.set_doing("")
        bar.advance(step)
    if step >= job.steps:
        bar.set_doing("evaluating")
    bar.values = "" if bpd is None else f"{bpd:.4f} bits/dim"

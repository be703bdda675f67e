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
        self._all = self.bar("", count)
        self._bars: dict[str, Bar] = {}

    def show(self, running: Sequence[Job], ended: int) -> None:
        """Show the `running` jobs and that `ended` jobs have ended; reads metrics now and then."""
        if self.clock() < self._next_read:
            return
        self._next_read = self.clock() + READ_SECONDS
        for name in self._bars.keys() - {job.name for job in running}:
            self._bars.pop(name).remove()
        shares = 0.0
        for job in running:
            bar = self._bars.get(job.name)
            bar = self._bars[job.name] = bar or self.bar(job.name, job.steps)
            if job.workdir is not None and job.steps is not None:
                step, bpd = newest_metrics(job.workdir)
                values = "evaluating" if step >= job.steps else "" if bpd is None else f"{bpd:.4f} bits/dim"
                bar.show(step, values, f"{job.name}, step {step}/{job.steps}")
                shares += step / (job.steps + 1)  # an evaluation counts as a step, so no job is done before it ends
        self._all.show(ended + shares, name=f"{ended} of {self._count} done")
        for bar in (self._all, *self._bars.values()):
            if bar.is_due():
                self.say(bar.line())

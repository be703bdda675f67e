"""Traces of training steps by `jax.profiler`, for XProf and TensorBoard's profile plugin."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import jax

from diffenc_jax.core.errors import first_line, require
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import list_paths

# Below a workdir; XProf looks for runs of this folder. A run is a folder named by its time.
PLUGIN = Path("plugins", "profile")
# Name of the annotation by which a trace tells the steps apart.
STEP = "train"


class StepRange(NamedTuple):
    """The steps `first` .. `last` of a run, counted from 1."""

    first: int
    last: int

    def check(self, steps: int, done: int) -> None:
        """Raise InputError unless a run of `steps` steps makes these steps after the first `done` ones."""
        flag = f"--profile={self.first}:{self.last}"
        require(self.last <= steps, f"{flag} is outside the run, which ends at step {steps}; give steps up to {steps}")
        made = f"the run has made {done} of its {steps} steps"
        require(self.first > done, f"{flag}: {made}; give later steps, or another --workdir")


class Profiler(AbstractContextManager["Profiler"]):
    """Trace of some steps of a training.

    Use it as a context manager: a trace that is not finished at its end is discarded. Only the first host traces, and
    only its own devices.
    """

    def __init__(self, steps: StepRange | None, workdir: Path, say: Callable[[str], None]):
        """Trace `steps`, none if None, into the folder PLUGIN of `workdir`; `say` is called with a line about it."""
        self._first, self._last = steps if steps and hosts.is_first() else (0, 0)
        self._workdir, self._say, self._folder = workdir, say, tempfile.TemporaryDirectory(prefix="diffenc-profile-")
        self._is_tracing = False

    def __exit__(self, *_) -> None:
        if self._is_tracing:
            jax.profiler.stop_trace()
        self._folder.cleanup()

    def before(self, step: int, state: Any) -> None:
        """Start the trace if `step` is the first one to be traced, once all steps up to `state` are done."""
        if step != self._first:
            return
        jax.block_until_ready(state)
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # every call of a function would be traced, which slows the host down
        jax.profiler.start_trace(self._folder.name, profiler_options=options)
        self._is_tracing = True

    def after(self, step: int, state: Any) -> None:
        """End the trace, and write it to the workdir, if `step` is the last one to be traced. Raises OSError."""
        if not self._is_tracing or step != self._last:
            return
        jax.block_until_ready(state)
        self._is_tracing = False
        try:
            jax.profiler.stop_trace()
        except RuntimeError as error:  # such as a full disk
            raise OSError(None, f"the profile cannot be written: {first_line(error)}") from error
        (run,) = list_paths(Path(self._folder.name, PLUGIN), "*")
        storage.copy_folder(run, self._workdir / PLUGIN / run.name)
        self._say(f"profile: {self._workdir / PLUGIN / run.name}")

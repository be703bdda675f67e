"""Traces of training steps by `jax.profiler`, for XProf and TensorBoard's profile plugin."""

import tempfile
from pathlib import Path
from typing import NamedTuple

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

    def check(self, steps: int, done: int = 0) -> None:
        """Raise InputError unless a run of `steps` steps, of which `done` are done, still makes these steps."""
        flag = f"--profile={self.first}:{self.last}"
        require(self.last <= steps, f"{flag} is outside the run, which ends at step {steps}; give steps up to {steps}")
        made = f"the run has made {done} of its {steps} steps"
        require(self.first > done, f"{flag}: {made}; give later steps, or another --workdir")


class Profiler:
    """Trace of some steps of a training.

    Use it as a context manager: a trace that is not finished at its end is discarded. The first host traces its own
    devices, the others none.
    """

    def __init__(self, steps: StepRange | None, workdir: Path):
        """Trace `steps`, none if None, into the folder PLUGIN of `workdir`."""
        self._first, self._last = steps if steps and hosts.is_first() else (0, 0)
        self._workdir, self._folder = workdir, tempfile.TemporaryDirectory(prefix="diffenc-profile-")
        self._is_tracing = False

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *_) -> None:
        if self._is_tracing:
            jax.profiler.stop_trace()
        self._folder.cleanup()

    def starts_before(self, step: int) -> bool:
        """Whether `start` is to be called before `step`, with all earlier steps waited for."""
        return step == self._first

    def ends_after(self, step: int) -> bool:
        """Whether `save` is to be called after `step`, which is waited for."""
        return self._is_tracing and step == self._last

    def start(self) -> None:
        """Start the trace."""
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # every call of a function would be traced, which slows the host down
        jax.profiler.start_trace(self._folder.name, profiler_options=options)
        self._is_tracing = True

    def save(self) -> Path:
        """End the trace and write it to the workdir; returns its folder. Raises OSError."""
        self._is_tracing = False
        try:
            jax.profiler.stop_trace()
        except RuntimeError as error:  # such as a full disk
            raise OSError(None, f"the profile cannot be written: {first_line(error)}") from error
        (run,) = list_paths(Path(self._folder.name), f"{PLUGIN}/*")
        storage.copy_folder(run, self._workdir / PLUGIN / run.name)
        return self._workdir / PLUGIN / run.name

"""Orbax checkpoints of a run: saved in the background, completely or not at all, and verified when restored."""

import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from diffenc_jax.config.schema import json_digest
from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import InputError, RunError, reason
from diffenc_jax.core.output import mend_unraisable
from diffenc_jax.core.runtime import return_freed_memory
from diffenc_jax.core.text import printable
from diffenc_jax.core.versions import OURS
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import files, storage
from diffenc_jax.runs.checksum_item import CheckpointIdentity, ChecksumItem, checksums
from diffenc_jax.runs.hashes import Damaged, Hashes, array_shapes, own_hashes, verify
from diffenc_jax.runs.metrics import evaluated_bpd, read_metrics
from diffenc_jax.runs.stored import CHECKPOINTS, StoredRun

KEEP_LATEST = 2
WRITTEN_AT_ONCE = 10**8  # bytes, at least those of the largest array: TensorStore copies all that it writes at once
PARTIAL = ".orbax-checkpoint-tmp"  # in the names of folders that Orbax is still writing
COMMITTED = "commit_success.txt"  # in a bucket, the last file of a complete checkpoint
# After a failed save: seconds to wait for each thread, and rounds of deletion with a pause after each.
THREAD_SECONDS, ROUNDS, ROUND_SECONDS = 10.0, 5, 0.1
DAMAGED_FOLDER, HASHES = "damaged", "hashes"

# Python warns about the reads and writes that Orbax abandons when another one has failed.
warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)

# A training state: a dataclass of arrays with averaged parameters `ema` and a method `replace`.
State = TypeVar("State", bound=Any)
T = TypeVar("T")


class SaveFailed(Exception):
    """A checkpoint could not be written; the text is one line that says which one and why."""


class Checkpoints(AbstractContextManager["Checkpoints"]):
    """Checkpoints of a run: the newest two, every `keep_every_steps`-th, and the best of the evaluated ones.

    The EMA is a separate item, so that evaluation reads nothing else. A third item holds hashes of all arrays, because
    Orbax restores flipped bytes without an error, and a `CheckpointIdentity`, because a folder may be renamed or copied
    from another run.

    Attributes:
      complete: the newest step that is known to be saved completely, or None.
    """

    def __init__(self, run: StoredRun, keep_every_steps: int | None = None, state: Any = ()):
        """Open the checkpoints of `run`, for writing if `keep_every_steps` is given, of states like `state`.

        Raises InputError if they cannot be listed.
        """
        mend_unraisable()  # also where a user's program opens a run
        self._run, self._keep_every_steps = run, keep_every_steps
        self._workdir = storage.identity(run.workdir)
        self._folder, self._context = self._workdir / CHECKPOINTS, _saving_options(state)
        # The save in progress, the step that is saved or was last saved, and those that its checkpoint replaces.
        self._response: ocp.AsyncResponse | None = None
        self._saving, self._replaced = 0, list[int]()
        if keep_every_steps is not None:
            self._delete_partial()
        self.complete = max(self.steps(), default=None)

    @cached_property
    def _identity(self) -> CheckpointIdentity:
        """Identity of the checkpoints, without a step. The first host broadcasts it: others may see an older file."""
        origin = self._run.origin
        ours = f"{origin.run} {json_digest(origin.standards)}"
        run, standards = hosts.broadcast(ours.encode()).decode().split(" ")
        return CheckpointIdentity(run, self._run.config.hash, standards)

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        with nullcontext() if kind is None else suppress(SaveFailed):
            self.wait()

    def latest_step(self) -> int | None:
        """The newest step that is saved or being saved, or None. `restore` finds out whether it is damaged."""
        return self.complete if self._response is None else self._saving

    def steps(self) -> list[int]:
        """All steps that were saved completely, increasing."""
        return [step for step in self._run.steps() if self._is_complete(str(step))]

    def _is_complete(self, name: str) -> bool:
        """Whether the folder `name` is that of a checkpoint that was saved completely."""
        path = self._folder / name
        return files.exists(path / COMMITTED) if is_remote(path) else path.is_dir() and PARTIAL not in name

    def save(self, step: int, state: Any) -> None:
        """Start to save `state` as `step`, unless that step is saved already. Every host must call this.

        Raises SaveFailed if this save or the previous one failed. This save has begun even if the previous one failed.
        Earlier checkpoints are kept.
        """
        try:
            self.wait()
        finally:
            if step != self.complete:
                self._save(step, state=state.replace(ema=None), ema=state.ema)

    def save_ema(self, step: int, ema: Any) -> None:
        """Save only averaged parameters, for evaluation and sampling; raises SaveFailed if they cannot be written."""
        self._save(step, ema=ema)
        self.wait()

    def _save(self, step: int, **items: Any) -> None:
        self._saving, hashes = step, own_hashes(items)
        with self._or_save_failed(), self._context:
            self._replaced = self._replaced_by(step)
            storage.make_folder(self._folder)
            item = ChecksumItem(self._identity._replace(step=step), hashes)
            self._response = ocp.save_checkpointables_async(self._folder / str(step), {**items, HASHES: item})

    def _replaced_by(self, step: int) -> list[int]:
        """Steps whose checkpoints are deleted once that of `step` is complete."""
        bits, every = evaluated_bpd(read_metrics(self._workdir)), self._keep_every_steps or 1
        steps = [*self.steps(), step]
        lowest = min((bits[one] for one in steps if one in bits), default=0.0)
        return [one for one in steps[:-KEEP_LATEST] if one % every and bits.get(one) != lowest]

    def wait(self) -> None:
        """Wait until the last save is complete; raises SaveFailed if it could not be written.

        Freed memory is returned to the system. Allocators would keep it for the threads of a save, and would keep more
        after every save.
        """
        if self._response is not None:
            with self._or_save_failed():
                self._response.result()
                self._response, self.complete = None, self._saving
                for step in self._replaced if hosts.is_first() else ():
                    storage.delete(self._folder / str(step))
        return_freed_memory()

    @contextmanager
    def _or_save_failed(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the disk and the libraries raise anything
            self._response = None
            for thread in threading.enumerate():
                if type(thread).__module__.startswith("orbax."):  # their own `join` raises the error
                    threading.Thread.join(thread, THREAD_SECONDS)
            self._delete_partial(ROUNDS)
            with suppress(InputError):  # of a bucket that does not answer
                self.complete = max(self.steps(), default=None)
            what = f"the checkpoint of step {self._saving} could not be saved in {self._folder}"
            raise SaveFailed(f"{what}: {_reason(error)}") from error

    def _delete_partial(self, rounds: int = 1) -> None:
        """Delete partial checkpoints of a killed process or a failed save: they take space, which a full disk lacks.

        After a failed save, threads of Orbax and TensorStore may write them again. `_or_save_failed` waits for the
        threads of Orbax. Python does not know the threads of TensorStore, so there are several `rounds`.
        """
        for number in range(rounds if hosts.is_first() else 0):
            time.sleep(ROUND_SECONDS * bool(number))
            with suppress(OSError, InputError):
                for path in storage.glob(self._folder, "*"):
                    if path.name.partition(PARTIAL)[0].isdecimal() and not self._is_complete(path.name):
                        storage.delete(path)

    def holds_ema_only(self, step: int) -> bool:
        """Whether `step` was saved by `save_ema`, so that training cannot resume from it; False if it is damaged."""
        names = {path.name for path in files.list_paths(self._folder / str(step), "*")}
        return "ema" in names and "state" not in names

    def restore(self, step: int, abstract: State) -> State:
        """The state of `step`, with the shardings of `abstract`, a state of ShapeDtypeStructs.

        Raises:
          InputError: the checkpoint is of another model.
          Damaged: the checkpoint is not what was saved.
        """
        restored = self._restore(step, state=abstract.replace(ema=None), ema=abstract.ema)
        return restored["state"].replace(ema=restored["ema"])

    def restore_ema(self, step: int, abstract: Any) -> Any:
        """Only the EMA parameters of `step`; see `restore`."""
        return self._restore(step, ema=abstract)["ema"]

    def _restore(self, step: int, **abstract: Any) -> dict[str, Any]:
        identity, folder = self._identity._replace(step=step), self._folder / str(step)  # a broadcast comes first
        try:
            hashes = self._read(folder, lambda: checksums(folder / HASHES, identity))
            self._check_fits(step, abstract, hashes)
            items = self._read(folder, lambda: ocp.load_checkpointables(folder, abstract))
            verify(items, hashes)
        except Damaged as error:
            raise Damaged(f"the checkpoint of step {step} is damaged: {error}") from error
        return items

    def _read(self, folder: Path, read: Callable[[], T]) -> T:
        """Call `read`, which reads files of the checkpoint in `folder`; raises Damaged if it fails."""
        try:
            for path in () if is_remote(folder) else folder.rglob("*"):
                storage.check_regular(path)
            return read()
        except InputError:
            raise
        except Exception as error:  # the libraries raise anything on a damaged checkpoint
            raise Damaged(_reason(error)) from error

    def newest(self, restore: Callable[[int], T]) -> tuple[int, T] | None:
        """(step, restore(step)) of the newest intact checkpoint; None if there is no checkpoint.

        Damaged checkpoints are reported on standard error. If these checkpoints are open for writing, damaged ones are
        moved to the folder `damaged` of the workdir.

        Raises:
          RunError: there are checkpoints, and all are damaged.
        """
        damaged = {}
        for step in reversed(self.steps()):
            try:
                restored = restore(step)
            except Damaged as error:
                damaged[step] = str(error)
            else:
                self._set_aside(damaged, f"; continuing with that of step {step}")
                return step, restored
        if damaged:
            why = f"all checkpoints in {self._folder} are damaged: {'; '.join(damaged.values())}"
            raise RunError(f"{why}; train again, in another workdir or after deleting that folder")
        return None

    def _set_aside(self, damaged: dict[int, str], ending: str) -> None:
        writes = self._keep_every_steps is not None
        for step, message in damaged.items() if hosts.is_first() else ():
            if writes:
                place = files.free_path(self._workdir / DAMAGED_FOLDER / str(step))
                storage.make_folder(place.parent)
                storage.move(self._folder / str(step), place)
                message += f", moved to {place}"
            print(printable(message + ending), file=sys.stderr, flush=True)
        if damaged and writes:
            hosts.broadcast(b"")  # the other hosts wait until the folders have moved
            self.complete = max(self.steps(), default=None)

    def _check_fits(self, step: int, abstract: dict[str, Any], hashes: Hashes) -> None:
        """Raise InputError unless the hashed items of `step` have the names and shapes of `abstract`.

        The configuration of a workdir stays the same, but the images that it names and the software may change.
        """
        ours, theirs = array_shapes(abstract), {name for name in hashes if name.partition("/")[0] in abstract}
        if ours == theirs:
            return
        name = min(ours ^ theirs)
        other = f"{self._folder / str(step)} is of another model, of other images, or of another version of {OURS}"
        only = f"only {'the checkpoint' if name in theirs else 'this model'} has the array {name}"
        raise InputError(f"{other}: {only}{self._run.origin.other_version}")


def _saving_options(state: Any) -> ocp.Context:
    """Orbax's options for saving states like `state`, which bound the memory for it."""
    largest = max((leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)), default=0)
    context = ocp.Context()
    context.array.saving.ocdbt_target_data_file_size = WRITTEN_AT_ONCE  # a file is in memory until it is written
    context.memory.write_concurrent_bytes = max(WRITTEN_AT_ONCE, largest + 1)
    return context


def _reason(error: Exception) -> str:
    """Why files cannot be read or written, shortened: TensorStore's errors name many files."""
    return textwrap.shorten(reason(error), 300)

"""Orbax checkpoints of a run: saved in the background, completely or not at all, and verified when restored."""

import contextlib
import logging
import re
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from diffenc_jax.config.schema import json_digest
from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import InputError, RunError, reason
from diffenc_jax.core.output import mend_unraisable
from diffenc_jax.core.runtime import return_freed_memory
from diffenc_jax.core.text import printable
from diffenc_jax.core.versions import OURS
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import files, storage
from diffenc_jax.runs.hashes import Damaged, Hashes, array_shapes, own_hashes, verify
from diffenc_jax.runs.metrics import evaluated_bpd, read_metrics
from diffenc_jax.runs.seals import Seal, SealHandler, Stamp
from diffenc_jax.runs.stored import CHECKPOINTS, StoredRun

KEEP_LATEST = 2
WRITTEN_AT_ONCE = 0.1  # GB, at least the largest array: TensorStore copies all that it writes at once
PARTIAL = ".orbax-checkpoint-tmp"  # in the names of folders that Orbax is still writing
# After a failed save: seconds to wait for each thread, and rounds of deletion with a pause after each.
THREAD_SECONDS, ROUNDS, ROUND_SECONDS = 10.0, 5, 0.1
DAMAGED_FOLDER, HASHES, METADATA = "damaged", "hashes", "_CHECKPOINT_METADATA"

# Orbax warns when it opens checkpoints for reading only, although it was asked to.
logging.getLogger("absl").addFilter(
    lambda record: not re.search("directory is read only|read_only=True", str(record.msg))
)

# A training state: a dataclass of arrays with averaged parameters `ema` and a method `replace`.
State = TypeVar("State", bound=Any)
T = TypeVar("T")


class SaveFailed(Exception):
    """A checkpoint could not be written; the text is one line that says which one and why."""


class Checkpoints(contextlib.AbstractContextManager["Checkpoints"]):
    """Checkpoints of a run: the newest two, every `keep_every_steps`-th, and the best of the evaluated ones.

    The EMA is a separate item, so that evaluation reads nothing else. A third item holds hashes of all arrays, because
    Orbax restores flipped bytes without an error, and a `Stamp`, because a folder may be renamed or copied from another
    run.

    Attributes:
      complete: the newest step that is known to be saved completely, or None.
    """

    def __init__(self, run: StoredRun, keep_every_steps: int | None = None, state: Any = ()):
        """Open the checkpoints of `run`, for writing if `keep_every_steps` is given, of states like `state`.

        Raises InputError if they cannot be opened.
        """
        self._run, self._keep_every_steps = run, keep_every_steps
        self._workdir = storage.identity(run.workdir)
        largest = max((leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)), default=0)
        self._gigabytes: Any = max(WRITTEN_AT_ONCE, 1.01 * largest / 10**9)
        self._folder, self._saving = self._workdir / CHECKPOINTS, 0
        self._opened: ocp.CheckpointManager | None = None
        try:
            self.complete: int | None = self._manager.latest_step()
        except Exception as error:  # of any library, if a bucket does not answer
            why = storage.bucket_reason(error) if is_remote(self._folder) else _reason(error)
            raise InputError(f"{self._folder} cannot be opened: {why}") from error

    @cached_property
    def _stamp(self) -> Stamp:
        """Identity of the checkpoints, without a step. The first host broadcasts it: others may see an older file."""
        origin = self._run.origin
        ours = f"{origin.run} {json_digest(origin.standards)}"
        run, standards = hosts.broadcast(ours.encode()).decode().split(" ")
        return Stamp(run, self._run.config.hash, standards)

    @property
    def _manager(self) -> ocp.CheckpointManager:
        self._opened = self._opened or self._open()
        return self._opened

    def _open(self) -> ocp.CheckpointManager:
        mend_unraisable()  # also where a user's program opens a run
        every, writes = self._keep_every_steps, self._keep_every_steps is not None
        policy = [policies.LatestN(KEEP_LATEST), _Best(self._workdir)]
        policy += [policies.EveryNSteps(every)] if writes else []
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(policy),
            read_only=not writes,
            cleanup_tmp_directories=True,  # in a bucket, where partial checkpoints have the names of complete ones
        )
        if writes:
            self._delete_partial()
        for path in () if is_remote(self._folder) else self._folder.glob(f"*/{METADATA}"):
            storage.check_regular(path)  # Orbax reads them at once
        handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
        for name in ("state", "ema"):
            handler = ocp.PyTreeCheckpointHandler(save_concurrent_gb=self._gigabytes)
            handlers.add(name, ocp.args.PyTreeSave, handler)
            handlers.add(name, ocp.args.PyTreeRestore, handler)
        handlers.add(HASHES, Seal, SealHandler())
        return ocp.CheckpointManager(self._folder, handler_registry=handlers, options=options)

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        with contextlib.nullcontext() if kind is None else contextlib.suppress(SaveFailed):
            if self._opened is not None:
                self._or_save_failed(self._opened.close)

    def latest_step(self) -> int | None:
        """The newest step that was saved completely, or None. `restore` finds out whether it is damaged."""
        return self.complete if self._opened is None else self._opened.latest_step()

    def steps(self) -> list[int]:
        """All steps that were saved completely, increasing."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any) -> None:
        """Start to save `state` as `step`, unless that step is saved already. Every host must call this.

        Raises SaveFailed if this save or the previous one failed. This save has begun even if the previous one failed.
        Earlier checkpoints are kept.
        """
        try:
            self.wait()
        finally:
            self._or_save_failed(lambda: self._manager)  # after a failure it is opened again, and finds what is saved
            if step != self.latest_step():
                self._save(step, state=state.replace(ema=None), ema=state.ema)

    def save_ema(self, step: int, ema: Any) -> None:
        """Save only averaged parameters, for evaluation and sampling; raises SaveFailed if they cannot be written."""
        self._save(step, ema=ema)
        self.wait()

    def _save(self, step: int, **items: Any) -> None:
        file_size = int(WRITTEN_AT_ONCE * 10**9)  # a file is in memory until it is written
        args = {name: ocp.args.PyTreeSave(item, ocdbt_target_data_file_size=file_size) for name, item in items.items()}
        args[HASHES] = Seal(self._stamp._replace(step=step), own_hashes(items))
        self._saving = step
        self._or_save_failed(lambda: self._manager.save(step, args=ocp.args.Composite(**args)))

    def wait(self) -> None:
        """Wait until the last save is complete; raises SaveFailed if it could not be written.

        The memory that the save freed is returned to the system. Allocators would keep it for the threads of a save,
        and would keep more after every save.
        """
        if self._opened is not None:
            self._or_save_failed(self._opened.wait_until_finished)
            self.complete = self._opened.latest_step()
            return_freed_memory()

    def _or_save_failed(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # the disk and the libraries raise anything
            # After a failure Orbax forgets older checkpoints and leaves the partial one; a new manager does neither.
            if self._opened is not None:
                with contextlib.suppress(Exception):
                    self._opened.close()
                self._opened = None
            for thread in threading.enumerate():
                if type(thread).__module__.startswith("orbax."):  # their own `join` raises the error
                    threading.Thread.join(thread, THREAD_SECONDS)
            self._delete_partial(ROUNDS)
            what = f"the checkpoint of step {self._saving} could not be saved in {self._folder}"
            raise SaveFailed(f"{what}: {_reason(error)}") from error

    def _delete_partial(self, rounds: int = 1) -> None:
        """Delete partial checkpoints of a killed process or a failed save: they take space, which a full disk lacks.

        After a failed save, threads of Orbax and TensorStore may write them again. `_or_save_failed` waits for the
        threads of Orbax. Python does not know the threads of TensorStore, so there are several `rounds`.
        """
        for number in range(rounds if hosts.is_first() else 0):
            time.sleep(ROUND_SECONDS * bool(number))
            with contextlib.suppress(OSError):
                for path in storage.glob(self._folder, f"*{PARTIAL}*"):
                    storage.delete(path)

    def holds_ema_only(self, step: int) -> bool:
        """Whether `step` was saved by `save_ema`, so that training cannot resume from it; False if it is damaged."""
        try:
            return set(self._manager.item_metadata(step).keys()) - {HASHES} == {"ema"}
        except Exception:  # noqa: BLE001  restoring reports the damage
            return False

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
        stamp = self._stamp._replace(step=step)  # a broadcast, before any host fails
        try:
            hashes = self._read(step, **{HASHES: Seal(stamp)})[HASHES]
            self._check_fits(step, abstract, hashes)
            like = ocp.checkpoint_utils.construct_restore_args  # in the same shapes, dtypes and shardings
            args = {name: ocp.args.PyTreeRestore(item, restore_args=like(item)) for name, item in abstract.items()}
            items = self._read(step, **args)
            verify(items, hashes)
        except Damaged as error:
            raise Damaged(f"the checkpoint of step {step} is damaged: {error}") from error
        return items

    def _read(self, step: int, **args: Any) -> dict[str, Any]:
        """Items of a checkpoint, by the arguments for restoring them; raises Damaged."""
        try:
            for path in () if is_remote(self._folder) else (self._folder / str(step)).rglob("*"):
                storage.check_regular(path)
            restored = self._manager.restore(step, args=ocp.args.Composite(**args))
            return {name: restored[name] for name in args}
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
            self._manager.reload()

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


class _Best(policies.PreservationPolicy):
    """Keeps the checkpoint with the lowest bits/dim among those evaluated during training."""

    def __init__(self, workdir: Path):
        self._workdir = workdir

    def should_preserve(
        self, checkpoints: Sequence[policies.PolicyCheckpointInfo], *, context: policies.PreservationContext
    ) -> Sequence[bool]:
        bits_by_step = evaluated_bpd(read_metrics(self._workdir))
        bits = [bits_by_step.get(checkpoint.step, np.inf) for checkpoint in checkpoints]
        return [value == min(bits) < np.inf for value in bits]


def _reason(error: Exception) -> str:
    """Why files cannot be read or written, shortened: TensorStore's errors name many files."""
    return textwrap.shorten(reason(error), 300)

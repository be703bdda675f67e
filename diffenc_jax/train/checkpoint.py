"""Orbax checkpoints of a run's state: saved in the background, whole or not at all, and read back the same."""

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    EveryNSteps,
    LatestN,
    PolicyCheckpointInfo,
    PreservationContext,
    PreservationPolicy,
)

from diffenc_jax import hosts
from diffenc_jax.errors import InputError, RunError, first_line
from diffenc_jax.train import hashes
from diffenc_jax.train.hashes import Damaged, Hashes
from diffenc_jax.train.state import TrainState
from diffenc_jax.workdir import evaluated

KEEP_LATEST = 2
FOLDER, DAMAGED_FOLDER = "checkpoints", "damaged"
HASHES = "hashes"
T = TypeVar("T")


class SaveFailed(Exception):
    """A checkpoint could not be written; its text is one line that says which and why."""


class Checkpoints:
    """The checkpoints of a workdir: the newest two, every `keep_every_steps`-th, and the best of those evaluated.

    The EMA is an item of its own, so that evaluation reads nothing else. Hashes of all arrays come with them: Orbax
    gives back flipped bytes without a word.
    """

    def __init__(self, workdir: Path, keep_every_steps: int | None = None):
        """Opens the workdir's checkpoints, to write when `keep_every_steps` is given."""
        self._workdir, self._keep_every_steps = workdir.absolute(), keep_every_steps
        self._folder, self._saving = self._workdir / FOLDER, None
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        every, writes = self._keep_every_steps, self._keep_every_steps is not None
        policy = [LatestN(KEEP_LATEST), _Best(self._workdir), *([EveryNSteps(every)] if writes else [])]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(policy),
            create=writes,
            read_only=not writes,
            cleanup_tmp_directories=writes,
        )
        handlers = {name: ocp.StandardCheckpointHandler() for name in ("state", "ema")}
        handlers[HASHES] = ocp.JsonCheckpointHandler()
        return ocp.CheckpointManager(self._folder, item_handlers=handlers, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            self._manager.close()
        except Exception:  # what went wrong with the last save; whoever waits for it is told
            if kind is None:
                raise

    def latest_step(self) -> int | None:
        """The newest step that was saved whole, or None; whether it still is, `restore` finds out."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """All steps that were saved whole, increasing."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: TrainState) -> None:
        """Starts saving `state` as `step`, unless that is there already; all hosts must.

        Raises:
          SaveFailed: this save, or the one before; what was there before is kept.
        """
        self.wait()
        if step != self.latest_step():
            self._save(step, state=state.replace(ema=None), ema=state.ema)

    def save_ema(self, step: int, ema: Any) -> None:
        """Saves averaged parameters alone, to be evaluated and sampled from, and returns when they are on disk.

        Raises SaveFailed.
        """
        self._save(step, ema=ema)
        self.wait()

    def _save(self, step: int, **items: Any) -> None:
        args = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        args[HASHES] = ocp.args.JsonSave(hashes.sealed(hashes.of(items)))
        self._saving = step
        self._told_of_failure(lambda: self._manager.save(step, args=ocp.args.Composite(**args)))

    def wait(self) -> None:
        """Returns when the last save is on disk; raises SaveFailed if it cannot be."""
        self._told_of_failure(self._manager.wait_until_finished)

    def _told_of_failure(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # whatever the disk and the libraries come to
            # After a failure Orbax forgets older checkpoints and leaves the unfinished one; a new manager does neither.
            with contextlib.suppress(Exception):
                self._manager.close()
            self._manager = self._open()
            raise SaveFailed(f"the checkpoint of step {self._saving} could not be saved: {_reason(error)}") from error

    def holds_ema_alone(self, step: int) -> bool:
        """Whether `step` was saved by `save_ema`, so that no training goes on from it; False if that cannot be read."""
        try:
            return set(self._manager.item_metadata(step).keys()) - {HASHES} == {"ema"}
        except Exception:  # noqa: BLE001  restoring says what is wrong
            return False

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """The state of `step`, laid out as the shardings of `abstract`'s ShapeDtypeStructs say.

        Raises:
          InputError: it is another model's.
          Damaged: it is not what was saved.
        """
        restored = self._restore(step, state=abstract.replace(ema=None), ema=abstract.ema)
        return restored["state"].replace(ema=restored["ema"])

    def restore_ema(self, step: int, abstract: Any) -> Any:
        """The EMA parameters of `step` alone; see `restore`."""
        return self._restore(step, ema=abstract)["ema"]

    def _restore(self, step: int, **abstract: Any) -> dict[str, Any]:
        try:
            known = self._hashes(step)
            self._check_fits(step, abstract["ema"], known)
            args = {name: ocp.args.StandardRestore(item) for name, item in abstract.items()}
            restored = _whole(lambda: self._manager.restore(step, args=ocp.args.Composite(**args)))
            items = {name: restored[name] for name in abstract}
            if known is not None:
                hashes.verify(items, known)
        except Damaged as error:
            raise Damaged(f"the checkpoint of step {step} is damaged: {error}") from error
        return items

    def newest(self, restore: Callable[[int], T]) -> tuple[int, T] | None:
        """(step, what `restore` gives for it) of the newest checkpoint that is whole; None if there is no checkpoint.

        Says on standard error which ones are not, and how. Where checkpoints are written, they are moved out of the
        way, to the folder `damaged` of the workdir.

        Raises:
          RunError: there are checkpoints, and none is whole.
        """
        wrong = {}
        for step in reversed(self.steps()):
            try:
                found = step, restore(step)
            except Damaged as error:
                wrong[step] = str(error)
                continue
            self._put_aside(wrong, f"; going on with that of step {step}")
            return found
        if wrong:
            raise RunError(
                f"no checkpoint in {self._folder} is whole: {'; '.join(wrong.values())}. Give another --workdir, or "
                "delete that folder to begin anew"
            )
        return None

    def _put_aside(self, wrong: dict[int, str], then: str) -> None:
        for step, message in wrong.items():
            moved = ""
            if self._keep_every_steps is not None:
                place = self._workdir / DAMAGED_FOLDER / str(step)
                moved = f", moved to {place}"
                if hosts.is_first():
                    _move(self._folder / str(step), place)
            if hosts.is_first():
                print(message + moved + then, file=sys.stderr, flush=True)
        if wrong and self._keep_every_steps is not None:
            hosts.told(b"")  # the others go on when it is done
            self._manager.reload()

    def _hashes(self, step: int) -> Hashes | None:
        """Of the arrays of `step`; None if it was saved before there were any. Raises Damaged."""
        try:
            handlers = json.loads((self._folder / str(step) / "_CHECKPOINT_METADATA").read_text())["item_handlers"]
            if HASHES not in handlers:
                return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Damaged(f"its _CHECKPOINT_METADATA cannot be read ({first_line(error)})") from error
        args = ocp.args.Composite(**{HASHES: ocp.args.JsonRestore()})
        return hashes.opened(_whole(lambda: self._manager.restore(step, args=args)[HASHES]))

    def _check_fits(self, step: int, abstract: Any, known: Hashes | None) -> None:
        """Raises InputError unless the EMA of `step` has the names and shapes of `abstract`.

        A workdir's configuration does not change, but the images that it names may.
        """
        if known is None:
            theirs = hashes.shapes(_whole(lambda: self._manager.item_metadata(step)["ema"]))
        else:
            theirs = {name.removeprefix("ema/"): tuple(a[1]) for name, a in known.items() if name.startswith("ema/")}
        ours = hashes.shapes(abstract)
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                raise InputError(
                    f"{self._folder / str(step)} is of another model, perhaps of other images: {name} is "
                    f"{theirs.get(name, 'absent')} there and {ours.get(name, 'absent')} here"
                )


class _Best(PreservationPolicy):
    """The checkpoint with the lowest bits/dim of those that training has evaluated."""

    def __init__(self, workdir: Path):
        self._workdir = workdir

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], *, context: PreservationContext
    ) -> Sequence[bool]:
        found = evaluated(self._workdir)
        bits = [found.get(checkpoint.step, np.inf) for checkpoint in checkpoints]
        return [np.isfinite(value) and value == min(bits) for value in bits]


def _whole(read: Callable[[], T]) -> T:
    """What `read` gives; raises Damaged for whatever the libraries come to on what is not a checkpoint."""
    try:
        return read()
    except Exception as error:
        raise Damaged(_reason(error)) from error


def _reason(error: Exception) -> str:
    """The error's first line, within reason: TensorStore's name many files."""
    line = first_line(error) or type(error).__name__
    return line if len(line) <= 300 else f"{line[:150]} ... {line[-140:]}"


def _move(folder: Path, place: Path) -> None:
    """Moves a folder; what was at `place` before stays beside it."""
    place.parent.mkdir(exist_ok=True)
    names = (place.name, *(f"{place.name}.{k}" for k in range(1, 1000)))
    folder.rename(next(path for path in map(place.with_name, names) if not path.exists()))

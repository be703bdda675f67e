"""Orbax checkpoints of a run's state: saved in the background, whole or not at all."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, EveryNSteps, LatestN

from diffenc_jax.errors import InputError
from diffenc_jax.train.state import TrainState

KEEP_LATEST = 2
FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints of a workdir: the newest two, and every `keep_every_steps`-th.

    The EMA is an item of its own, so that evaluation reads nothing else.
    """

    def __init__(self, workdir: Path, keep_every_steps: int | None = None):
        """Opens the workdir's checkpoints, to write when `keep_every_steps` is given."""
        policy = [LatestN(KEEP_LATEST)]
        if keep_every_steps is not None:
            policy.append(EveryNSteps(keep_every_steps))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(policy),
            create=keep_every_steps is not None,
            read_only=keep_every_steps is None,
            cleanup_tmp_directories=keep_every_steps is not None,
        )
        self._folder = workdir.absolute() / FOLDER
        handlers = {name: ocp.StandardCheckpointHandler() for name in ("state", "ema")}
        self._manager = ocp.CheckpointManager(self._folder, item_handlers=handlers, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The newest step that was saved whole, or None."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """All steps that were saved whole, increasing."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: TrainState) -> None:
        """Starts saving `state` as `step`, unless that is there already."""
        if step == self.latest_step():
            return
        items = {"state": state.replace(ema=None), "ema": state.ema}
        args = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        self._manager.save(step, args=ocp.args.Composite(**args))

    def save_ema(self, step: int, ema: Any) -> None:
        """Saves averaged parameters alone, to be evaluated and sampled from, and returns when they are on disk."""
        self._manager.save(step, args=ocp.args.Composite(ema=ocp.args.StandardSave(ema)))
        self.wait()

    def holds_ema_alone(self, step: int) -> bool:
        """Whether `step` was saved by `save_ema`, so that no training goes on from it."""
        return set(self._manager.item_metadata(step).keys()) == {"ema"}

    def wait(self) -> None:
        """Returns when the last save is on disk."""
        self._manager.wait_until_finished()

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """The state of `step`, laid out as the shardings of `abstract`'s ShapeDtypeStructs say.

        Raises:
          InputError: it is another model's.
        """
        self._check_fits(step, abstract.ema)
        items = {"state": abstract.replace(ema=None), "ema": abstract.ema}
        args = {name: ocp.args.StandardRestore(item) for name, item in items.items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**args))
        return restored["state"].replace(ema=restored["ema"])

    def restore_ema(self, step: int, abstract: Any) -> Any:
        """The EMA parameters of `step` alone; see `restore`."""
        self._check_fits(step, abstract)
        restored = self._manager.restore(step, args=ocp.args.Composite(ema=ocp.args.StandardRestore(abstract)))
        return restored["ema"]

    def _check_fits(self, step: int, abstract: Any) -> None:
        """Raises InputError unless the EMA of `step` has the names and shapes of `abstract`.

        A workdir's configuration does not change, but the images that it names may.
        """
        ours, theirs = _shapes(abstract), _shapes(self._manager.item_metadata(step)["ema"])
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                raise InputError(
                    f"{self._folder / str(step)} is of another model, perhaps of other images: {name} is "
                    f"{theirs.get(name, 'absent')} there and {ours.get(name, 'absent')} here"
                )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{'score/conv_in/kernel': (3, 3, 3, 128), ...}."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in paths}

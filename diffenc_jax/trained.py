"""A trained run, opened to be looked at."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax import workdir as workdirs
from diffenc_jax.calibrate import FIT_SPLIT
from diffenc_jax.config import check_sections, require
from diffenc_jax.data.dataset import Dataset, load
from diffenc_jax.model import ImageSpec, Model, Params, build
from diffenc_jax.streams import stream
from diffenc_jax.train import sharding
from diffenc_jax.train.batches import needed
from diffenc_jax.train.checkpoint import Checkpoints


@dataclass(frozen=True)
class Trained:
    """A run's checkpoint, to begin with the newest whole one: its EMA parameters on `mesh`, their model and its data.

    `steps`: of all checkpoints up to that one.
    """

    config: ConfigDict
    workdir: Path
    step: int
    steps: list[int]
    mesh: Mesh
    dataset: Dataset
    model: Model
    params: Params

    def at(self, step: int) -> "Trained":
        """The checkpoint of `step`, one of `steps`; raises RunError if it is damaged."""
        if step == self.step:
            return self
        with Checkpoints(self.workdir) as checkpoints:
            return dataclasses.replace(self, step=step, params=_restore(checkpoints, step, self.model, self.mesh))


def open_trained(config: ConfigDict, workdir: Path, fitting: bool) -> Trained:
    """Opens the run of `config` in `workdir`, with the split to evaluate on.

    Args:
      config: its configuration, `loss` aside.
      workdir: where it lives.
      fitting: whether the training images are needed too.

    Raises:
      InputError: there is none, or it is another configuration's.
      RunError: none of its checkpoints is whole.
    """
    check_sections(config)
    workdirs.check(workdir, config, must_exist=True)
    with Checkpoints(workdir) as checkpoints:
        require(checkpoints.steps(), f"{workdir} holds no checkpoint yet; train it first")
        mesh = sharding.make_mesh(config.mesh.fsdp)
        splits = (config.eval.split, FIT_SPLIT) if fitting else (config.eval.split,)
        dataset = load(config, *dict.fromkeys(splits), part=needed(config, mesh))
        model = build(config, ImageSpec(dataset.shape, dataset.levels))
        step, params = checkpoints.newest(lambda step: _restore(checkpoints, step, model, mesh))
        steps = [other for other in checkpoints.steps() if other <= step]
        return Trained(config, workdir, step, steps, mesh, dataset, model, params)


def _restore(checkpoints: Checkpoints, step: int, model: Model, mesh: Mesh) -> Params:
    shapes = jax.eval_shape(model.init, stream(0, "params"))
    return checkpoints.restore_ema(step, sharding.abstract(shapes, sharding.of_state(mesh, shapes)))

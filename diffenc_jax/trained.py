"""A trained run, opened to be looked at."""

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
from diffenc_jax.train.checkpoint import Checkpoints, abstract_like


@dataclass(frozen=True)
class Trained:
    """A run's newest checkpoint: its EMA parameters on `mesh`, with their model and its data."""

    config: ConfigDict
    workdir: Path
    step: int
    mesh: Mesh
    dataset: Dataset
    model: Model
    params: Params


def open_trained(config: ConfigDict, workdir: Path, fitting: bool) -> Trained:
    """Opens the run of `config` in `workdir`, with the split to evaluate on.

    Args:
      config: its configuration, `loss` aside.
      workdir: where it lives.
      fitting: whether the training images are needed too.

    Raises:
      InputError: there is none, or it is another configuration's.
    """
    check_sections(config)
    workdirs.check(workdir, config, must_exist=True)
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.latest_step()
        require(step is not None, f"{workdir} holds no checkpoint yet; train it first")
        mesh = sharding.make_mesh(config.mesh.fsdp)
        splits = (config.eval.split, FIT_SPLIT) if fitting else (config.eval.split,)
        dataset = load(config, *dict.fromkeys(splits))
        model = build(config, ImageSpec(dataset.shape, dataset.levels))
        shapes = jax.eval_shape(model.init, stream(0, "params"))
        params = checkpoints.restore_ema(step, abstract_like(shapes, sharding.of_state(mesh, shapes)))
    return Trained(config, workdir, step, mesh, dataset, model, params)

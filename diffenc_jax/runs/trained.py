"""Opening a trained run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import jax

from diffenc_jax.config import Config
from diffenc_jax.core.errors import require
from diffenc_jax.core.streams import stream
from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.model import Params
from diffenc_jax.parallel.sharding import abstract_arrays, state_shardings
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.files import OTHER_WORKDIR
from diffenc_jax.runs.origin import check_parts, check_training_data
from diffenc_jax.runs.stored import StoredRun


@dataclass(frozen=True)
class Trained(Experiment):
    """An experiment with the EMA parameters of one of its checkpoints.

    Attributes:
      stored: the run on disk or in a bucket.
      step: step of the checkpoint.
      steps: steps of all checkpoints up to the newest intact one, increasing.
      params: EMA parameters, on the mesh.
    """

    stored: StoredRun
    step: int
    steps: list[int]
    params: Params

    @property
    def workdir(self) -> Path:
        """Folder of the run."""
        return self.stored.workdir

    def at(self, step: int) -> "Trained":
        """The checkpoint of `step`, one of `steps`; raises RunError if it is damaged."""
        if step == self.step:
            return self
        with Checkpoints(self.stored) as checkpoints:
            return dataclasses.replace(self, step=step, params=_restore(checkpoints, step, self))


def open_trained(stored: StoredRun, config: Config | None = None, needs_training_images: bool = False) -> Trained:
    """Open the newest intact checkpoint of a run, with the split to evaluate on.

    Args:
      stored: the run.
      config: configuration to use, which may differ from the stored one in `loss` and in what does not identify a
        run. None: the stored one.
      needs_training_images: whether to load the training images as well.

    Raises:
      InputError: there is no checkpoint; or the configuration, the sources of parts or the loaded training images are
        not those of the run.
      RunError: all checkpoints are damaged.
    """
    config = stored.config if config is None else config
    stored.check(config, True, "give the configuration that it was trained with, or another run")
    with Checkpoints(stored) as checkpoints:
        require(checkpoints.steps() != [], f"{stored.workdir} holds no checkpoint yet; train it first")
        splits = config.eval.split, *([TRAIN] if needs_training_images else [])
        run = Experiment.load(config, *splits, standards=stored.standards)
        check_parts(stored, config)
        if needs_training_images:
            check_training_data(run, stored, stored.origin)
        newest = checkpoints.newest(lambda step: _restore(checkpoints, step, run))
        assert newest is not None  # since there are checkpoints
        step, params = newest
        steps = [other for other in checkpoints.steps() if other <= step]
    return Trained(**vars(run), stored=stored, step=step, steps=steps, params=params)


def check_trainable(run: StoredRun, config: Config) -> int:
    """Check that `config` can be trained as `run`; returns the step to continue from, 0 without a checkpoint.

    Raises InputError if the workdir holds a run of another configuration or of other sources of its parts, or only
    parameters to evaluate.
    """
    advice = f"{OTHER_WORKDIR}, or --overwrite, which moves that run aside"
    run.check(config, False, advice)
    with Checkpoints(run) as checkpoints:
        step = checkpoints.latest_step()
        resumes = step is None or not checkpoints.holds_ema_only(step)
    holds = f"{run.workdir} holds averaged parameters and no optimizer state, so training cannot resume from it"
    require(resumes, f"{holds}; {advice}")
    check_parts(run, config, trains=True)
    return step or 0


def _restore(checkpoints: Checkpoints, step: int, run: Experiment) -> Params:
    shapes = jax.eval_shape(run.model.init, stream(0, "params"))
    return checkpoints.restore_ema(step, abstract_arrays(shapes, state_shardings(run.mesh, shapes)))

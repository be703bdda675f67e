"""The public API: runs as objects, for notebooks, scripts and the commands."""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from diffenc_jax.config import Config, load_config
from diffenc_jax.core import parts
from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.errors import require
from diffenc_jax.core.progress import progress_of_call
from diffenc_jax.core.runtime import keep_programs
from diffenc_jax.core.streams import stream
from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.data.images import Batch, LocalPart
from diffenc_jax.data.pipeline import noise_numbers
from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.process import Process
from diffenc_jax.evaluation.evaluator import Evaluator, LogProb
from diffenc_jax.model import Params, bind_to
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.sharding import abstract_arrays, state_shardings
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.hashes import array_shapes
from diffenc_jax.runs.origin import check_parts
from diffenc_jax.runs.record_types import Record
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.runs.workdir import default_workdir
from diffenc_jax.sampling.sampling import Sampling
from diffenc_jax.train import flops
from diffenc_jax.train.loop import train
from diffenc_jax.train.outputs import DrawSamples
from diffenc_jax.train.program import TrainingProgram
from diffenc_jax.train.state import TrainState, averages

Metrics = dict[str, float]
# Rows per batch of `Run.log_prob`. On a CPU an ODE takes less time per row in batches of 8 or 16 than in larger ones,
# where more rows wait for the slowest: 12 to 16 ms for an `arrays` model of two features, 22 ms in batches of 512.
LOG_PROB_ROWS = 16


class Run(BaseRun):
    """A configuration with its data, its devices and its model, and the verbs of training and evaluation.

    The data of a new run are read at once, because its model needs to know them; those of an opened run are read when
    they are first needed.

    Example:
      run = Run("digits:diffenc", {"train.batch_size": 64})
      state = run.init()
      state, metrics = run.step(state, run.batch(0))
      record = run.evaluate(state, passes=2)

    Attributes:
      config, mesh, dataset, model: as in `BaseRun`.
    """

    def __init__(
        self,
        config: str | Config,
        changes: Mapping[str, Any] | None = None,
        plugins: Collection[str] = (),
        data: str | None = None,
    ):
        """Load the data and build the model; nothing is compiled.

        Raises InputError if the configuration is unknown or makes no sense, or its data cannot be loaded.

        Args:
          config: name or path of a configuration with its arm, such as "digits:vdm", or the configuration itself.
          changes: other values by key, such as {"train.batch_size": 64}.
          plugins: packages whose parts a given `Config` may name; they are imported.
          data: where the data are, if they are not where `data.source` says; this is no part of the run's identity.
        """
        plain = load_config(config) if isinstance(config, str) else config.allowing(plugins)
        given = parts.allowed(changes or {})
        changed = flops.load_config(config, given) if isinstance(config, str) else plain.replace(given)
        self._take(BaseRun.load(changed, data=data), default_workdir(changed, plain))
        for split in (TRAIN, changed.eval.split):
            self.dataset.split(split)

    def _take(self, run: BaseRun, workdir: Path) -> None:
        super().__init__(run.config, run.mesh, run.dataset, run.model)
        self._workdir = workdir
        keep_programs(workdir.parent)

    @property
    def train(self) -> np.ndarray | LocalPart:
        """Training data in their units: images uint8 [N, H, W, C], or real numbers [N, ...]."""
        return self.dataset.split(TRAIN).data

    @property
    def test(self) -> np.ndarray | LocalPart:
        """Data of the split to evaluate on (`eval.split`), as `train`."""
        return self.dataset.split(self.config.eval.split).data

    @property
    def test_labels(self) -> np.ndarray | LocalPart | None:
        """Labels of the images `test`: classes int32 [N], or images; None for a model without labels."""
        return self.dataset.split(self.config.eval.split).labels

    @cached_property
    def evaluator(self) -> Evaluator:
        """The evaluator that `config.eval` describes."""
        return Evaluator(self)

    @cached_property
    def sampling(self) -> Sampling:
        """The sampler that `config.sample` describes."""
        return Sampling(self)

    def init(self) -> TrainState:
        """The state before the first step."""
        return self._init()

    def batch(self, step: int) -> Batch:
        """Training data of `step`, counted from 0, on the devices: `data` [B, ...] and `labels`."""
        if not self._is_on_one_device:
            return self._batches(step)
        rows = self._batches.numbers(step)
        return jax.tree.map(lambda images: jnp.asarray(images[rows]), self._batches.train)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """The next state and the step's metrics: bits/dim by term and the norm of the gradient; none if not finite.

        The step reuses the buffers of `state`, which cannot be used again.
        """
        state, report = self._compiled_step(state.restarted(), batch, self._program.seed)
        return state, averages(report.meter)

    def terms(
        self,
        params: Params,
        data: np.ndarray | jax.Array,
        seed: int = 0,
        labels: np.ndarray | jax.Array | None = None,
    ) -> losses.Terms:
        """One unbiased estimate of the bound by term, nats per image [B].

        Raises InputError if the parameters or the images are not of this model, or if labels are missing or given to a
        model without labels.

        Args:
          params: parameters, such as `state.ema`.
          data: images, uint8 [B, H, W, C], or other whole numbers below the number of pixel levels; or real numbers.
          seed: seed of times and noise.
          labels: the classes from 0, int [B]; uint8 [B, h, w, c] where labels are images; or vectors of floats [B, K].
        """
        batch = self.model.batch(data, labels)
        return self._terms(self._checked(params), batch, stream(seed, "terms"))

    def evaluate(self, state: TrainState | Params | None = None, **changes: Any) -> Record:
        """The record of an evaluation on all images of `eval.split`; nothing is written.

        Raises InputError if there are no parameters of this model, or the evaluation does not suit it or the data.

        Args:
          state: a state, whose averaged parameters are evaluated, or parameters. None: those of an opened run.
          changes: other values of `config.eval`, such as passes=2.
        """
        evaluator = Evaluator(self._changed("eval", changes)) if changes else self.evaluator
        return evaluator.evaluate(*self._params_and_step(state))

    def log_prob(
        self,
        x: Any,
        labels: Any = None,
        estimator: str = "ode",
        state: TrainState | Params | None = None,
        index: Any = None,
        **changes: Any,
    ) -> LogProb:
        """log p of data, nats [N], with the standard error by the noise of the estimator, or by its solver.

        The bound and the ODE belong to two models: the density of the bound is smoothed by the noise of γ_0, and that
        of the ODE is the flow's. Real numbers have densities in their units; images have probabilities.

        A value depends on its own row, label and index, and not on the other rows: all batches have 16 rows, if need be
        copies of the first one. Accelerators are faster with a larger `batch_size`, which changes values by rounding
        and, for the ODE, by its error.

        Args:
          x: data [N, ...] as in the data set.
          labels: as for `terms`.
          estimator: "ode", "bound", "importance_weighted" or another name of `eval.estimator`.
          state: as for `evaluate`.
          index: whole numbers from 0, [N], or one for all rows, that choose the rows' noise. None: 0 .. N - 1. Rows of
            one index share their noise, which cancels in their differences: give one to all labels of the same x.
          changes: other values of `config.eval`, such as passes=8; or of full keys, such as **{"ode.rtol": 1e-6}.

        Raises:
          InputError: the data, the labels or the index are not of this model, or the estimator does not suit it.
          RunError: a value is not finite.
        """
        settings = {"estimator": estimator, "batch_size": LOG_PROB_ROWS, **changes}
        key = repr(sorted(settings.items()))
        if key not in self._evaluators:
            self._evaluators[key] = Evaluator(self._changed("eval", settings))
        evaluator, (params, _), batch = self._evaluators[key], self._params_and_step(state), self.model.batch(x, labels)
        count = len(batch.data)
        noise = None if index is None else noise_numbers(index, count)
        with progress_of_call("log_prob", evaluator.num_batches(count), lambda: evaluator.slow(count)) as on_batch:
            return evaluator.nats(params, batch, noise, on_batch)

    def process(self, labels: Any = None, state: TrainState | Params | None = None) -> Process:
        """The diffusion process with its networks, which `dj.density`, `dj.losses` and `dj.flow` take.

        Raises InputError if the labels do not suit the model, or the data have latent codes, on which it would depend.

        Args:
          labels: labels of the batches that the process serves, as for `terms`.
          state: as for `evaluate`.
        """
        model, (params, _) = self.model, self._params_and_step(state)
        require(model.code is None, "the process depends on the codes of a batch; take model.bind")
        labels = model.checked_labels(labels)
        inputs = None if labels is None else jnp.asarray(model.label_inputs(jnp.asarray(labels)))
        return model.bind(params, condition=inputs)

    def sample(
        self,
        state: TrainState | Params | None = None,
        num: int = 16,
        labels: Any = None,
        return_log_prob: bool = False,
        **changes: Any,
    ) -> Any:
        """Data drawn from the model, [num, ...] in the units of the data set: images are uint8 [num, H, W, C].

        With `return_log_prob` they are drawn by the probability flow, and the result is the pair (data, nats [num])
        with their log p under the same flow, as by `log_prob`; a model with labels then needs `labels`.

        Raises InputError if there are no parameters of this model, or the sampler or the labels do not suit it.

        Args:
          state: as for `evaluate`.
          num: number of images, at least 1.
          labels: as for `terms`; None: the labels of `sample.label`.
          changes: other values of `config.sample`, such as depth=100 or seed=1.
        """
        params, _ = self._params_and_step(state)
        is_count = isinstance(num, int | np.integer) and num >= 1
        require(is_count, f"num={num!r} must be a whole number of at least 1")
        if return_log_prob:
            self.model.checked_labels(labels, num)
            changes |= {"sampler": "flow"}
        sampling = Sampling(self._changed("sample", changes)) if changes else self.sampling
        drawn = sampling.images(params, num, labels=labels)
        return (drawn, self.log_prob(drawn, labels, state=params).nats) if return_log_prob else drawn

    def fit(self, workdir: str | Path | None = None, overwrite: bool = False) -> tuple[TrainState, Record]:
        """Train to the last step, and evaluate; returns the last state and the record of its evaluation.

        Args:
          workdir: folder of the run. If it holds a run, this run is resumed. By default the folder of `diffenc train`
            with the same changes.
          overwrite: whether a run in the workdir is moved to WORKDIR.1, .2, ..., and training starts anew.

        Raises:
          InputError: the workdir belongs to another run.
          RunError: the loss is not finite, or a checkpoint cannot be saved.
          Interrupted: a signal arrived; the state is saved.
        """
        path = self._workdir if workdir is None else as_path(str(workdir))
        return train(self, path, Console(), self.training_samples, overwrite)

    @property
    def training_samples(self) -> DrawSamples | None:
        """What draws the pictures of samples in training; None if there are none."""
        return self.sampling.picture if self.config.log.samples and self.config.log.writers else None

    def _params_and_step(self, state: TrainState | Params | None) -> tuple[Params, int]:
        missing = "this run has no trained parameters; give a state, as from fit(), or take dj.open(WORKDIR)"
        require(state is not None, missing)
        return self._checked(getattr(state, "ema", state)), int(getattr(state, "step", 0))

    def _checked(self, params: Params) -> Params:
        """`params`; raises InputError unless they have the shapes of the model's parameters."""
        same = array_shapes(params) == array_shapes(self._shapes)
        require(same, "these are not parameters of this model; give a state of this run, or its ema")
        return params

    @cached_property
    def _evaluators(self) -> dict[str, Evaluator]:
        """Evaluators of `log_prob` by their settings."""
        return {}

    @cached_property
    def _shapes(self) -> Params:
        return jax.eval_shape(self.model.init, stream(0, "params"))

    def _changed(self, section: str, changes: Mapping[str, Any]) -> BaseRun:
        """The run with other values of a section, or of the full keys that hold a dot."""
        keys = {name if "." in name else f"{section}.{name}": value for name, value in changes.items()}
        config = self.config.replace(parts.allowed(keys))
        other = config.differences(self.config)
        require(not other, f"{'; '.join(other)}: this model has another value; give such keys to dj.Run or dj.open")
        return self.changed(config=config)

    @property
    def _is_on_one_device(self) -> bool:
        """Whether arrays may stay where JAX puts them, so that a user's jitted step compiles only once.

        With a batch on the mesh and an optimizer state elsewhere, the outputs of a first call would be on the mesh, and
        the second call would compile again.
        """
        return self.mesh.size == 1

    @cached_property
    def _init(self) -> Callable[[], TrainState]:
        program = self._program
        return partial(jax.jit(program.init), program.seed) if self._is_on_one_device else program.start

    @cached_property
    def _program(self) -> TrainingProgram:
        return TrainingProgram(self.model, self.config, self.mesh)

    @cached_property
    def _compiled_step(self) -> jax.stages.Compiled:
        return self._program.compiled()

    @cached_property
    def _batches(self) -> Batches:
        return Batches(self.dataset.split(TRAIN).examples, self.config, self.mesh)

    @cached_property
    def _terms(self) -> Any:
        model = self.model

        def terms(params, batch, key):
            steps = None if model.loss.depth is None else model.steps(params, model.loss)
            return losses.bound(bind_to(model, params, batch), batch.data, key, steps)

        return jax.jit(terms)


class TrainedRun(Run):
    """A run with the averaged parameters of a checkpoint, which its verbs use by default.

    Attributes:
      stored: the run on disk or in a bucket.
      checkpoint: step of the checkpoint.
      checkpoints: steps of all checkpoints up to the newest intact one, increasing.
      params: averaged parameters of the checkpoint, on the mesh.
    """

    def __init__(self, run: BaseRun, stored: StoredRun, checkpoint: int, checkpoints: list[int], params: Params):
        self._take(run, stored.workdir)
        self.stored, self.params = stored, params
        self.checkpoint, self.checkpoints = checkpoint, checkpoints

    @property
    def workdir(self) -> Path:
        """Folder of the run."""
        return self.stored.workdir

    def changed(self, *, params: Params | None = None, **changes: Any) -> "TrainedRun":
        """The run with other parameters, or another `config`, `model` or `dataset`."""
        params = self.params if params is None else params
        return TrainedRun(super().changed(**changes), self.stored, self.checkpoint, self.checkpoints, params)

    def at(self, step: int) -> "TrainedRun":
        """The run with another of its checkpoints, one of `checkpoints`; raises RunError if it is damaged."""
        if step == self.checkpoint:
            return self
        with Checkpoints(self.stored) as checkpoints:
            params = _averages(self, checkpoints, step)
        return TrainedRun(self, self.stored, step, self.checkpoints, params)

    def _params_and_step(self, state: TrainState | Params | None) -> tuple[Params, int]:
        return (self.params, self.checkpoint) if state is None else super()._params_and_step(state)


def open(
    workdir: str | Path | StoredRun,
    changes: Mapping[str, Any] | None = None,
    config: Config | None = None,
    plugins: Collection[str] = (),
    data: str | Path | None = None,
) -> TrainedRun:
    """The run in `workdir` with its newest intact checkpoint; its data are read when a verb needs them.

    Args:
      workdir: folder of the run, or the run as it is stored there.
      changes: other values by key, such as {"loss.depth": 100}; they may not change what was trained.
      config: configuration to use instead of the stored one.
      plugins: packages whose parts the run's configuration may name, as for `diffenc ... --plugins`; they are imported.
        Packages that announce their parts need not be given.
      data: where the run's data are, if they are elsewhere than in its training, as is `data.source` in `changes` or
        `config`. They are compared with the digests that the run has.

    Raises:
      InputError: there is no such run, or it was trained by another configuration or with other sources of its parts.
      RunError: all checkpoints are damaged.
    """
    stored = workdir if isinstance(workdir, StoredRun) else StoredRun(as_path(str(workdir)))
    config = (stored.config if config is None else config).allowing(plugins)
    config = config.replace(parts.allowed(changes or {}))
    place, source = str(data or config.data.source), stored.config.data.source
    if config.data.source != source:
        config = config.replace({"data.source": stored.config.allowing(plugins).data.source})
    stored.check(config, True, "give the configuration that it was trained with, or another run")
    with Checkpoints(stored) as checkpoints:
        require(checkpoints.steps() != [], f"{stored.workdir} holds no checkpoint yet; train it first")
        run = BaseRun.load(config, stored, None if place == source else place)
        check_parts(stored, config)
        newest = checkpoints.newest(partial(_averages, run, checkpoints))
        assert newest is not None  # since there are checkpoints
        steps = [step for step in checkpoints.steps() if step <= newest[0]]
    return TrainedRun(run, stored, newest[0], steps, newest[1])


def _averages(run: BaseRun, checkpoints: Checkpoints, step: int) -> Params:
    """The averaged parameters of a checkpoint, on the mesh."""
    shapes = jax.eval_shape(run.model.init, stream(0, "params"))
    return checkpoints.restore_ema(step, abstract_arrays(shapes, state_shardings(run.mesh, shapes)))

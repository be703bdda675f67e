"""Likelihoods of a whole split: every image exactly once per pass, and a record of how they were estimated."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.config.sections import EvalConfig
from diffenc_jax.core import versions
from diffenc_jax.core.sources import outside_digest
from diffenc_jax.data.dataset import Split
from diffenc_jax.data.images import Batch
from diffenc_jax.data.pipeline import EvalBatch, eval_batches
from diffenc_jax.evaluation.estimator import Estimator, Pass, Tables
from diffenc_jax.evaluation.means import mean_and_error
from diffenc_jax.evaluation.uncertainty import difference, means_and_errors, means_of_replicates
from diffenc_jax.model import Model, Params, outside_parts
from diffenc_jax.parallel import sharding
from diffenc_jax.parallel.memory import within_memory
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.runs.hashes import tree_digest
from diffenc_jax.runs.partial import PartialEvaluation
from diffenc_jax.runs.record_types import Record
from diffenc_jax.runs.records import EVAL_FOLDER, TRUE_BITS, Evaluation, find_evaluation, record_path, write_record
from diffenc_jax.runs.stored import StoredRun

OnBatch = Callable[[], Any]
MakeTables = Callable[[], Tables] | None  # None: those of the estimator


def eval_model(run: BaseRun) -> Model:
    """The model, computing in `config.eval.dtype`."""
    dtype = run.config.eval.dtype
    return run.model if dtype is None else run.model.with_dtype(dtype)


def eval_precision(settings: EvalConfig) -> AbstractContextManager[None]:
    """A context in which accelerators round the factors of products as `eval.dtype` says."""
    return jax.default_matmul_precision("highest" if settings.dtype == "float32" else None)


class LogProb(NamedTuple):
    """log p of each example, nats [N].

    Attributes:
      nats: the estimates; those of a bound are at most log p, except for noise.
      standard_error: standard error by the noise of the estimator, NaN for a single pass. Without noise it is the
        solver's error, measured in the first batch; the other examples have its root mean square.
    """

    nats: np.ndarray
    standard_error: np.ndarray


class Evaluator:
    """The likelihood of every image of `config.eval.split`, compiled once for any number of checkpoints.

    Attributes:
      run: the run, with the model computing in `config.eval.dtype`.
      estimator: the estimator.
    """

    def __init__(
        self,
        run: BaseRun,
        make: Callable[[BaseRun], Estimator] | None = None,
        *,
        folder: str = EVAL_FOLDER,
        variant: str | None = None,
    ):
        """Raises InputError if `config.eval` does not suit the model or the data.

        Args:
          make: makes the estimator; None for the one that `config.eval` names.
          folder: subfolder of a workdir for the records.
          variant: short name of a variant of the model, part of a record's name and its 'estimator.encoder'.
        """
        settings, run = run.config.eval, run.changed(model=eval_model(run))
        self.run, self.estimator = run, (make or Estimator.of)(run)
        self._folder, self._variant = folder, variant
        self._parts = outside_parts(run.config, *([] if make else ["estimator"]))
        if make and (digest := outside_digest([self.estimator])):
            self._parts[f"estimator={self.estimator.name}"] = digest
        self._batch_size = sharding.round_up(run.mesh, settings.batch_size)

    @property
    def split(self) -> Split:
        """The split to evaluate on, which is read when it is first asked for."""
        return self.run.dataset.split(self.run.config.eval.split)

    def num_batches(self, count: int | None = None) -> int:
        """Number of calls of `on_batch` per evaluation of `count` examples; None for those of the split."""
        count = len(self.split.data) if count is None else count
        return self.estimator.passes * math.ceil(count / self._batch_size)

    def slow(self, count: int) -> str:
        """Part of a message: what makes an evaluation of `count` examples slow, and what to change."""
        size = f"each of {self.num_batches(count)} batches computes eval.batch_size={self._batch_size} examples"
        smaller = f"{size}; for these {count}, take a smaller one; " if count < self._batch_size else f"{size}; "
        return smaller + self.estimator.slow

    def nats(
        self, params: Params, data: Batch, noise: np.ndarray | None = None, on_batch: OnBatch = lambda: None
    ) -> LogProb:
        """log p of data, instead of the split, with its error; raises NotFinite.

        Args:
          noise: [N] the numbers that choose the noise of each example; None for their places in `data`.
          on_batch: called after every batch.
        """
        count, replicates = len(data.data), self.estimator.replicates
        entries = {"dataset": {"num_examples": count, "split": "x"}, "estimator": self.estimator.describe()}
        evaluation = PartialEvaluation(entries | versions.environment(self._parts), self.estimator.terms)
        errors = self._compute(evaluation, params, data, on_batch, noise=noise)
        values = self.estimator.total(evaluation.values)
        if self.estimator.is_exact:
            error = np.full(count, _summary(errors)["rms"])
            error[: len(errors)] = np.abs(errors)
        elif replicates:
            error = mean_and_error(means_of_replicates(values, replicates))[1]
        else:
            error = np.full(count, np.nan)
        return LogProb(-values.mean(axis=0), error)

    def evaluate(self, params: Params, step: int = 0) -> Record:
        """The record of `params`, held in memory only; `step` is their training step, for the record."""
        description = self._describe(self.run.config, step, params)
        return self._complete(PartialEvaluation(description, self.estimator.terms), params, lambda: None)

    def record(
        self,
        params: Params,
        step: int,
        stored: StoredRun,
        *,
        tables: MakeTables = None,
        on_batch: OnBatch = lambda: None,
    ) -> Evaluation:
        """Evaluate `params`, and write the record and the values [passes, images] behind it.

        An existing record of the same evaluation is returned as it is. An interrupted evaluation is resumed. Raises
        InputError if the record cannot be written.

        Args:
          params: parameters of `stored` at `step`.
          tables: replaces the estimator's tables; called only if they are needed.
          on_batch: called after every batch.
        """
        description = self._describe(stored.config, step, params)
        parts = self.estimator.name, self._variant, self.run.config.eval.dtype
        path = record_path(stored.workdir, description, "-".join(part for part in parts if part), self._folder)
        if found := find_evaluation(path, description):
            return found
        with PartialEvaluation(description, self.estimator.terms, path) as evaluation:
            record = self._complete(evaluation, params, on_batch, tables)
            true = self.split.true_bits
            return write_record(path, record, evaluation.arrays | ({} if true is None else {TRUE_BITS: true}))

    def _complete(
        self, evaluation: PartialEvaluation, params: Params, on_batch: OnBatch, tables: MakeTables = None
    ) -> Record:
        """Compute the missing values of an evaluation; returns its record."""
        errors = self._compute(evaluation, params, self.split.examples, on_batch, tables)
        count = int(sum(leaf.size for leaf in jax.tree.leaves(params)))
        results = summarize(evaluation.values, self.estimator, self.run.model.spec.dims, self.split.true_bits)
        if errors.any():
            results["numerical_error"] = _summary(errors / (self.run.model.spec.dims * math.log(2)))
        further = {"params": count, "seconds": round(evaluation.seconds, 3)}
        return cast(Record, evaluation.description | results | further)

    def _compute(
        self,
        evaluation: PartialEvaluation,
        params: Params,
        data: Batch,
        on_batch: OnBatch,
        tables: MakeTables = None,
        noise: np.ndarray | None = None,
    ) -> np.ndarray:
        """Compute the missing values of an evaluation; returns the `numerical_errors` of the first batch.

        Raises NotFinite at the first value that is not a finite number.
        """
        estimator, size = self.estimator, f"lower eval.batch_size={self.run.config.eval.batch_size}"
        with eval_precision(self.run.config.eval), within_memory("an evaluation", size):
            given = partial(self._given, params, evaluation.tables(tables or (lambda: estimator.tables(params))))
            batches = partial(eval_batches, data, self._batch_size, noise)
            for number, part, values in sharding.in_flight(self._started(evaluation, batches, given)):
                rows = part.indices[: part.valid]
                if values is not None:
                    what = f"example {{}} of {evaluation.description['dataset']['split']}"
                    reals = [array for array in part.batch if array is not None and array.dtype.kind == "f"]
                    estimator.check_finite(what, rows, estimator.total(values)[: part.valid], params, *reals)
                    evaluation.put(number, rows, values)
                if number == rows[0] == 0:
                    known = {name: array[0, rows] for name, array in evaluation.values.items()}
                    errors = estimator.numerical_errors(given(part, 0), estimator.total(known))
                on_batch()
        return errors

    def _started(
        self,
        evaluation: PartialEvaluation,
        batches: Callable[[], Iterator[EvalBatch]],
        given: Callable[[EvalBatch, int], Pass],
    ) -> Iterator[tuple[int, EvalBatch, dict[str, jax.Array] | None]]:
        """Pass, images and values of each batch as its computation starts; None for values that are known."""
        for number in range(self.estimator.passes):
            for part in batches():
                is_known = evaluation.has(number, part.indices[: part.valid])
                yield number, part, None if is_known else self.estimator.estimate(given(part, number))

    def _given(self, params: Params, tables: Tables, part: EvalBatch, number: int) -> Pass:
        """Argument of the estimator for a batch in pass `number`."""
        batch, numbers = sharding.to_devices(self.run.mesh, (part.batch, part.noise))
        return Pass(params, tables, batch, numbers, np.int32(number))

    def _describe(self, trained: Config, step: int, params: Params) -> dict[str, Any]:
        """The record, except for its results."""
        settings, model = self.run.config.eval, self.run.model
        estimator = self.estimator.describe() | {"dtype": settings.dtype}
        if self._variant:
            estimator["encoder"] = self._variant
        if model.labels:
            estimator["labels"] = True  # the likelihood of an image given its label
        return {
            "step": step,
            "seed": trained.seed,
            "arm": trained.arm,
            "config_hash": trained.hash,
            **({"augmentation": trained.augmentation} if trained.augmentation else {}),
            **({"code": model.code.nats / (model.spec.dims * math.log(2))} if model.code else {}),
            "dataset": self.split.fingerprint,
            "estimator": estimator,
            "params_sha256": tree_digest(params),
            **versions.environment(self._parts),
        }


def _summary(errors: np.ndarray) -> dict[str, float]:
    """Root mean square 'rms' and largest size of the errors that are known, and the number of these 'images'."""
    known = np.abs(errors[np.isfinite(errors)])
    if not known.size:
        return {"rms": math.nan, "largest": math.nan, "images": 0}
    return {"rms": math.sqrt(np.square(known).mean()), "largest": float(known.max()), "images": known.size}


def summarize(
    values: dict[str, np.ndarray], estimator: Estimator, dims: int, true: np.ndarray | None = None
) -> dict[str, Any]:
    """'bpd' and 'standard_error', total and by term, and the estimator's diagnostics, from values [passes, images].

    If the `true` bits/dim [images] are known, 'regret' is the mean of the total minus the truth, with its errors. The
    standard errors are those of `evaluation/uncertainty.py`; they are None if they cannot be estimated.
    """
    bits = {term: values[term] / (dims * math.log(2)) for term in estimator.terms}
    results = means_and_errors(bits, estimator.replicates) | estimator.diagnostics(values)
    if true is not None:
        total = np.sum(list(bits.values()), axis=0)
        regret, errors = difference(total, true[None], estimator.replicates, None, common_noise=True)
        results["regret"] = {"bpd": regret, **errors._asdict()}
    return results

"""Test likelihoods: every image of a split exactly once a pass, and a record of how it was done."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax import environment, hosts
from diffenc_jax import workdir as workdirs
from diffenc_jax.config import config_hash
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.data.pipeline import eval_batches
from diffenc_jax.estimators import make_estimator
from diffenc_jax.estimators.base import Estimator, Tables
from diffenc_jax.estimators.config import EvalConfig
from diffenc_jax.model import Model, Params
from diffenc_jax.stats.uncertainty import standard_errors
from diffenc_jax.train import sharding
from diffenc_jax.unfinished import Unfinished
from diffenc_jax.workdir import replace


class Evaluator:
    """The likelihood of every image of a split, compiled once for any number of checkpoints.

    Attributes:
      estimator: the configuration's.
      precision: of matrix products, see `jax.default_matmul_precision`.
    """

    def __init__(self, model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh):
        """Raises InputError where it cannot be evaluated as `config` says."""
        self.settings = EvalConfig.of(config)
        if self.settings.dtype is not None:
            model = model.computing_in(self.settings.dtype)
        self.precision = "highest" if self.settings.dtype == "float32" else None
        self._model, self._dataset, self._mesh = model, dataset, mesh
        self.estimator = make_estimator(model, config, dataset, mesh)
        self._batch_size = sharding.round_up(mesh, self.settings.batch_size)

    def batches(self) -> int:
        """How often `on_batch` will be called for a record."""
        images = len(self._dataset.splits[self.settings.split])
        return self.estimator.passes * math.ceil(images / self._batch_size)

    def record(
        self,
        params: Params,
        step: int,
        workdir: Path,
        estimator: Estimator | None = None,
        folder: str = "eval",
        on_batch: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Evaluates `params`, writes the record and the values it comes from, and returns the record.

        A record of the same estimator, step and configuration that is there already is returned as it
        is; what an interrupted evaluation of the same left behind is gone on with.

        Args:
          params: of the run in `workdir` at `step`.
          estimator: instead of the configuration's.
          folder: of the workdir, for the record.
          on_batch: called after every batch.
        """
        estimator = self.estimator if estimator is None else estimator
        description = self._describe(step, workdir, estimator)
        path = self.path(step, workdir, estimator, folder)
        if known := _read(path, description):
            return known
        start = time.perf_counter()
        precision = jax.default_matmul_precision(self.precision)
        with Unfinished(path, _identity(description)) as unfinished, precision:
            tables = unfinished.tables(lambda: estimator.tables(params))
            values = self._values(params, estimator, tables, unfinished, on_batch)
            record = description | summarize(values, estimator, self._model.spec.dims)
            record["params"] = int(sum(leaf.size for leaf in jax.tree.leaves(params)))
            record["seconds"] = round(unfinished.seconds + time.perf_counter() - start, 3)
            if hosts.is_first():
                np.savez(path.with_suffix(".npz"), **values, **{name: np.asarray(t) for name, t in tables.items()})
                replace(path, json.dumps(record, indent=1) + "\n")
            unfinished.finish()
        return record

    def path(self, step: int, workdir: Path, estimator: Estimator, folder: str) -> Path:
        """Of the record."""
        dtype = self.settings.dtype
        name = f"{self.settings.split}-{step}-{estimator.name}" + (f"-{dtype}" if dtype else "")
        return workdir / folder / f"{name}.json"

    def _values(
        self, params: Params, estimator: Estimator, tables: Tables, unfinished: Unfinished, on_batch: Callable[[], None]
    ) -> dict[str, np.ndarray]:
        """All that `estimator` gives, float64 [passes, images] by name."""
        images = self._dataset.splits[self.settings.split]
        unfinished.shape = estimator.passes, len(images)

        def started():
            for number in range(estimator.passes):
                for batch in eval_batches(images, self._batch_size):
                    rows = batch.indices[: batch.valid]
                    if unfinished.has(number, rows):
                        on_batch()
                        continue
                    pixels, indices = (sharding.to_devices(self._mesh, a) for a in (batch.images, batch.indices))
                    yield number, rows, estimator.estimate(params, tables, pixels, indices, number)

        for number, rows, values in sharding.in_flight(started()):
            unfinished.put(number, rows, {name: np.asarray(value)[: len(rows)] for name, value in values.items()})
            on_batch()
        return unfinished.values

    def _describe(self, step: int, workdir: Path, estimator: Estimator) -> dict[str, Any]:
        trained = workdirs.read(workdir)
        return {
            "step": step,
            "seed": trained["seed"],
            "arm": trained["arm"],
            "config_hash": config_hash(trained),
            "dataset": self._dataset.fingerprint(self.settings.split),
            "estimator": estimator.describe() | {"dtype": self.settings.dtype},
            "software": environment.software(),
            "device": environment.device(),
        }


def _read(path: Path, description: dict[str, Any]) -> dict[str, Any] | None:
    """The record at `path`, if there is one with its values beside it and it is of what `description` describes."""
    there = path.exists() and path.with_suffix(".npz").exists()
    try:
        record = json.loads(hosts.told(path.read_bytes() if there else b""))
    except ValueError:
        return None
    return record if _identity(record) == _identity(description) else None


def _identity(record: dict[str, Any]) -> dict[str, Any]:
    """What two evaluations must have in common to give the same values."""
    return {key: record.get(key) for key in ("step", "config_hash", "dataset", "estimator")}


def summarize(values: dict[str, np.ndarray], estimator: Estimator, dims: int) -> dict[str, Any]:
    """'bpd' and 'standard_error', in all and by term, and the estimator's remarks, from values [passes, images].

    For the errors see stats/uncertainty.py; they are None where they cannot be told.
    """
    bits = {term: values[term] / (dims * math.log(2)) for term in estimator.terms}
    means = {term: float(value.mean()) for term, value in bits.items()}
    errors = {term: standard_errors(value, estimator.replicates)._asdict() for term, value in bits.items()}
    total = standard_errors(sum(bits.values()), estimator.replicates)._asdict()
    return {
        "bpd": {"total": sum(means.values()), **means},
        "standard_error": {**total, "terms": errors},
        **estimator.remarks(values),
    }

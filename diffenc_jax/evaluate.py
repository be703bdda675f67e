"""Test likelihoods: every image of a split exactly once a pass, and a record of how it was done."""

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax import workdir as workdirs
from diffenc_jax.calibrate import Calibration, FitConfig
from diffenc_jax.config import config_hash, require, unpack
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.data.pipeline import eval_batches
from diffenc_jax.diffusion.losses import Noise, Terms
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.model import LossConfig, Model, Params
from diffenc_jax.streams import stream
from diffenc_jax.train import sharding
from diffenc_jax.workdir import replace

SOFTWARE = ("diffenc_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
IN_FLIGHT = 2
GOLDEN = np.uint32(2654435769)  # 2^32 times the golden ratio, modulo 2^32: wraps as the ratio's multiples do


@dataclass(frozen=True)
class EvalConfig:
    """`every_steps`: how often training evaluates; `seed`: of the noise, the same for all compared runs."""

    every_steps: int
    split: str
    batch_size: int
    passes: int
    seed: int

    def __post_init__(self):
        require(self.every_steps >= 1, f"eval.every_steps must be at least 1, not {self.every_steps}")
        require(self.batch_size >= 1, f"eval.batch_size must be at least 1, not {self.batch_size}")
        require(self.passes >= 1, f"eval.passes must be at least 1, not {self.passes}")

    @classmethod
    def of(cls, config: ConfigDict, mesh: Mesh) -> "EvalConfig":
        """From `config.eval`; raises InputError where it cannot be evaluated so on `mesh`."""
        section = unpack(cls, config.eval, "eval")
        sharding.check_batch(mesh, section.batch_size, "eval.batch_size")
        return section


@dataclass(frozen=True)
class Estimator:
    """How a likelihood is estimated.

    Attributes:
      loss: depth, variance ratio and times; its extrapolation is the model's.
      passes: how often every image is looked at.
      calibration: what the steps of a `loss` that is to be fitted come from; else None.
    """

    loss: LossConfig
    passes: int
    calibration: Calibration | None = None

    def describe(self, seed: int) -> dict[str, Any]:
        """The record's 'estimator', under noise of `seed`."""
        loss = self.loss
        description = {
            "kind": "continuous" if loss.depth is None else "discrete",
            "depth": loss.depth,
            "variance_ratio": loss.variance_ratio,
            "passes": self.passes,
            "seed": seed,
        }
        if loss.depth is not None:
            description |= {"extrapolation": loss.extrapolation, "times": loss.times}
        if loss.fitted:
            description["fit"] = self.calibration.description
        return description

    def steps(self, model: Model, params: Params) -> Steps | None:
        """The steps of a finite depth; None at infinite depth."""
        if self.loss.depth is None:
            return None
        return self.calibration.steps(self.loss) if self.loss.fitted else model.steps(params, self.loss)


class Evaluator:
    """The bound on every image of a split, compiled once for any number of checkpoints and depths."""

    def __init__(self, model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh):
        self._model, self._config, self._dataset, self._mesh = model, config, dataset, mesh
        self.settings = EvalConfig.of(config, mesh)
        if model.loss.fitted:
            FitConfig.of(config, dataset, mesh)  # refused now, not after training
        self._draw = jax.jit(partial(draw_noise, model, self.settings.seed))
        # Places on the path are found apart, so that the networks are compiled once for all depths.
        self._instant, self._step = jax.jit(model.instant), jax.jit(lambda steps, t: steps.at(t))
        self._estimate = jax.jit(
            lambda params, pixels, noise, at: jnp.stack(model.terms(params, pixels, noise, at=at)),
            out_shardings=sharding.replicated(mesh),
        )

    def estimator(self, params: Params) -> Estimator:
        """The one that the configuration asks for; `params` are what it is fitted to, if it is fitted."""
        loss, calibration = self._model.loss, None
        if loss.fitted:
            calibration = Calibration(self._model, params, self._config, self._dataset, self._mesh)
        return Estimator(loss, self.settings.passes, calibration)

    def batches(self, passes: int) -> int:
        """How often `on_batch` will be called."""
        images = len(self._dataset.splits[self.settings.split])
        return passes * math.ceil(images / self.settings.batch_size)

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

        A record of the same estimator, step and configuration that is there already is returned
        as it is.

        Args:
          params: of the run in `workdir` at `step`.
          estimator: instead of the configuration's.
          folder: of the workdir, for the record.
          on_batch: called after every batch.
        """
        estimator = self.estimator(params) if estimator is None else estimator
        description = self._describe(step, workdir, estimator)
        path = workdir / folder / f"{self.settings.split}-{step}-{estimator.loss.name}.json"
        if known := _read(path, description):
            return known
        start = time.perf_counter()
        steps = estimator.steps(self._model, params)
        nats = self.nats(params, estimator.passes, steps, on_batch)
        record = description | summarize(nats, self._model.spec.dims)
        record["params"] = int(sum(leaf.size for leaf in jax.tree.leaves(params)))
        record["seconds"] = round(time.perf_counter() - start, 3)
        path.parent.mkdir(parents=True, exist_ok=True)
        taken = {} if steps is None else {name: np.asarray(value) for name, value in steps._asdict().items()}
        np.savez(path.with_suffix(".npz"), **dict(zip(Terms._fields, nats, strict=True)), **taken)
        replace(path, json.dumps(record, indent=1) + "\n")
        return record

    def nats(
        self, params: Params, passes: int, steps: Steps | None = None, on_batch: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """The bound by term, float64 [3, passes, images], in nats; through `steps`, or at infinite depth."""
        images = self._dataset.splits[self.settings.split]
        nats = np.empty((len(Terms._fields), passes, len(images)))
        pending = []

        def collect():
            number, batch, values = pending.pop(0)
            nats[:, number, batch.indices[: batch.valid]] = np.asarray(values)[:, : batch.valid]
            on_batch()

        for number in range(passes):
            for batch in eval_batches(images, self.settings.batch_size):
                pixels, indices = (sharding.to_devices(self._mesh, a) for a in (batch.images, batch.indices))
                noise = self._draw(jnp.int32(passes), indices, jnp.int32(number))
                at = self._instant(params, noise.t) if steps is None else self._step(steps, noise.t)
                pending.append((number, batch, self._estimate(params, pixels, noise, at)))
                if len(pending) > IN_FLIGHT:
                    collect()
        while pending:
            collect()
        return nats

    def _describe(self, step: int, workdir: Path, estimator: Estimator) -> dict[str, Any]:
        trained, split = workdirs.read(workdir), self.settings.split
        return {
            "step": step,
            "seed": trained["seed"],
            "arm": trained["arm"],
            "config_hash": config_hash(trained),
            "dataset": {
                "name": self._dataset.name,
                "version": self._dataset.version,
                "split": split,
                "num_examples": len(self._dataset.splits[split]),
                "sha256": self._dataset.sha256(split),
            },
            "estimator": estimator.describe(self.settings.seed),
            "software": {"python": platform.python_version(), **{name: version(name) for name in SOFTWARE}},
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        }


def _read(path: Path, description: dict[str, Any]) -> dict[str, Any] | None:
    """The record at `path`, if there is one and it is of what `description` describes."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    same = all(record.get(key) == description[key] for key in ("config_hash", "dataset", "estimator"))
    return record if same else None


def draw_noise(model: Model, seed: int, passes: jax.Array, indices: jax.Array, number: jax.Array) -> Noise:
    """The noise of pass `number` for the images at `indices` [B] of their split.

    An image's noise comes from (seed, index, pass) alone, so that its value does not depend on
    the batch it is in. Times are spread evenly twice over: t = u + index φ + pass / passes (mod 1)
    with one u ~ U(0, 1), where multiples of the golden ratio φ fill the interval over the images
    of a pass, and equal steps over the passes of an image. Each t is uniform: nothing is biased.
    """
    key = stream(seed, "eval")
    u = jax.random.uniform(jax.random.fold_in(key, 0))
    # The product is exact, unlike a float's.
    golden = (indices.astype(jnp.uint32) * GOLDEN).astype(jnp.float32) / 2.0**32
    t = jnp.mod(u + golden + number / passes, 1.0)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, 1), indices)
    pass_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
    noise = jax.vmap(model.draw_noise)(pass_keys, t[:, None])
    return jax.tree.map(lambda a: jnp.squeeze(a, 1), noise)


def summarize(nats: np.ndarray, dims: int) -> dict[str, Any]:
    """'bpd' by term and 'standard_error' of the total, from nats [3, passes, images].

    The error from 'images' is that of a mean over the split, the one from 'noise' that of a mean
    over passes (None for a single pass, which cannot tell).
    """
    bits = nats / (dims * math.log(2))
    by_term = bits.mean(axis=(1, 2))
    total = bits.sum(axis=0)
    return {
        "bpd": {"total": float(by_term.sum()), **dict(zip(Terms._fields, map(float, by_term), strict=True))},
        "standard_error": {"noise": _standard_error(total.mean(axis=1)), "images": _standard_error(total.mean(axis=0))},
    }


def _standard_error(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def format_record(record: dict[str, Any]) -> str:
    """'1.8912 +- 0.0031 (noise) +- 0.0123 (images) bits/dim'."""
    text = f"{record['bpd']['total']:.4f}"
    for kind, value in record["standard_error"].items():
        if value is not None:
            text += f" ± {value:.4f} ({kind})"
    return f"{text} bits/dim"

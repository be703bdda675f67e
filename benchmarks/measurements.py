"""Measurements of this package's models on the devices of a mesh: JSON values by name.

The models are those of the configurations cifar10 and digits. Images of CIFAR-10's shape are random.
"""

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import inference
import jax
import numpy as np
import peers
import records
import timing
from jax.sharding import Mesh

from diffenc_jax.api import Run
from diffenc_jax.config import Config, load_config
from diffenc_jax.config.recipe import dct_network, score_transformer
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.model import Params
from diffenc_jax.parallel.memory import Memory
from diffenc_jax.train.flops import count

DTYPES = ("float32", "bfloat16")
# Small networks whose programs compile quickly, also on a CPU.
SMALL_SCORE = score_transformer(patch=4, width=8, layers=2, heads=2, skip_connections=False)
SMALL_ENCODER = dct_network(width=8)


class Sizes(NamedTuple):
    """How much is computed.

    Attributes:
      batch_size: images per batch; None for that of the configuration.
      timed_steps: most timed steps and batches.
      timed_seconds: time after which no more of them are timed.
      sampling_steps: ancestral steps per image.
      trained_steps, passes: steps of a training on digits, and passes of its evaluation.
      repeated_steps: steps of a training that is repeated.
      small_networks: whether to replace the networks by small ones.
    """

    batch_size: int | None = None
    timed_steps: int = 20
    timed_seconds: float = 10.0
    sampling_steps: int = 20
    trained_steps: int = 1500
    passes: int = 8
    repeated_steps: int = 10
    small_networks: bool = False


SMALL = Sizes(8, 2, 1.0, 3, trained_steps=3, passes=2, repeated_steps=2, small_networks=True)


class Bench:
    """Measurements of the same sizes on the same mesh, which share compiled programs and counts of FLOPs."""

    def __init__(self, mesh: Mesh, sizes: Sizes, peak: float | None):
        """Nothing is computed yet.

        Args:
          peak: peak rate of all devices of `mesh`, FLOPs per second; None if it is unknown.
        """
        self._mesh, self._sizes, self._peak = mesh, sizes, peak
        self._compiled: dict[tuple[str, str], timing.CompiledStep] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        self._flops: dict[str, float | None] = {}

    def step(self, arm: str, dtype: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Time and memory of a training step, with other values of the configuration by key."""
        config, before = self._config("cifar10", arm, {"model.dtype": dtype, **changes}), timing.peak_bytes()
        compiled = timing.compile_step(config, self._mesh)
        if not changes:
            self._compiled[arm, dtype] = compiled
        limits = {"repeats": self._sizes.timed_steps, "at_most": self._sizes.timed_seconds}
        seconds = timing.call_seconds(timing.Training(compiled), **limits)
        memory, peak, flops = Memory.of(compiled.step), timing.peak_bytes(), self._flops_of(arm)
        median = float(np.median(seconds))
        if not changes:
            self._seconds[arm, dtype] = median
        return {
            "arm": arm,
            "dtype": dtype,
            "changes": dict(changes),
            "batch_size": config.train.batch_size,
            **{name: compiled.times[name] for name in ("trace_seconds", "compile_seconds")},
            **records.spread("step_seconds", seconds),
            "timed_steps": len(seconds),
            "images_per_second": config.train.batch_size / median,
            "flops_per_step": flops,
            "utilisation": utilisation(flops, median, self._peak),
            "state_bytes": memory.state,
            "temporary_bytes": memory.temporaries,
            "peak_bytes": peak if peak > before else None,
        }

    def published(self, arm: str, model: str, checkout: Path) -> dict[str, Any]:
        """Time of the published code's step, in a process of its own, and ours as shares of it; None if unknown."""
        batch, steps = self._config("cifar10", arm, {}).train.batch_size, self._sizes.timed_steps
        flags = [f"--diffenc={checkout}", f"--model={model}", f"--batch={batch}", f"--steps={steps}"]
        record = peers.measure([sys.executable, str(peers.FOLDER / "published.py"), *flags])
        ours = {dtype: self._seconds.get((arm, dtype)) for dtype in DTYPES}
        shares = {dtype: seconds and seconds / record["step_seconds"] for dtype, seconds in ours.items()}
        return {"arm": arm, "batch_size": batch, **shares, **record}

    def repeat(self, arm: str, dtype: str) -> dict[str, Any]:
        """Whether two trainings of as many steps, with one seed, end with the same bits of every parameter.

        The program is that of an earlier `step`.
        """
        compiled, steps = self._compiled_step(arm, dtype), self._sizes.repeated_steps
        first, second = (_params_after(compiled, steps) for _ in range(2))
        pairs = [(a, b) for a, b in zip(first, second, strict=True) if a.tobytes() != b.tobytes()]
        return {
            "steps": steps,
            "bit_for_bit": not pairs,
            "arrays": len(first),
            "different_arrays": len(pairs),
            "largest_difference": max((float(np.abs(a - b).max()) for a, b in pairs), default=0.0),
        }

    def rate(self, task: str, arm: str, dtype: str) -> dict[str, Any]:
        """Images per second of a pass of the bound (`task` = 'evaluation') or of an ancestral step ('sampling').

        In float32, factors of products are not rounded in the evaluation.
        """
        changes = {"model.dtype": dtype, "eval.dtype": dtype, "sample.depth": self._sizes.sampling_steps}
        config = self._config("cifar10", arm, changes)
        run, size = inference.tasks(config, self._mesh)[task], config.train.batch_size
        (first,) = timing.call_seconds(lambda: run(0), repeats=1, warm_up=0)
        limits = {"repeats": self._sizes.timed_steps, "at_most": self._sizes.timed_seconds}
        seconds = timing.call_seconds(lambda: run(1), warm_up=1, **limits)
        per = self._sizes.sampling_steps if task == "sampling" else 1
        return {
            "task": task,
            "arm": arm,
            "dtype": dtype,
            "batch_size": size,
            "first_seconds": first,
            **records.spread("batch_seconds", [value / per for value in seconds]),
            "images_per_second": size * per / float(np.median(seconds)),
        }

    def dtypes(self, seed: int) -> dict[str, Any]:
        """Bits/dim on the test images of digits by the dtype of training and of evaluation, all with the same noise."""
        runs, bits = {dtype: self._digits(dtype, seed) for dtype in DTYPES}, {}
        params = {dtype: _trained(run, self._sizes.trained_steps) for dtype, run in runs.items()}
        for trained, evaluated in itertools.product(DTYPES, DTYPES):
            record = runs[evaluated].evaluate(params[trained])
            bits[f"{trained}_in_{evaluated}"] = record["bpd"]["total"]
        exact = bits["float32_in_float32"]
        return {
            "arm": runs["float32"].config.arm,
            "seed": seed,
            "steps": self._sizes.trained_steps,
            "bpd": bits,
            "excess_of_training": bits["bfloat16_in_float32"] - exact,
            "excess_of_evaluation": bits["float32_in_bfloat16"] - exact,
        }

    def _config(self, name: str, arm: str, changes: Mapping[str, Any]) -> Config:
        config = load_config(f"{name}:{arm}").replace(changes)
        if self._sizes.batch_size is not None:
            config = config.replace({"train.batch_size": self._sizes.batch_size})
        if self._sizes.small_networks:
            encoder = {"model.encoder": SMALL_ENCODER} if config.model.encoder.kind == "trainable" else {}
            config = config.replace({"model.score": SMALL_SCORE, **encoder})
        return config

    def _digits(self, dtype: str, seed: int) -> Run:
        changes = {"model.dtype": dtype, "eval.dtype": dtype, "eval.time_sampling": "uniform", "seed": seed}
        return Run(self._config("digits", "diffenc", {**changes, "eval.passes": self._sizes.passes}))

    def _compiled_step(self, arm: str, dtype: str) -> timing.CompiledStep:
        require((arm, dtype) in self._compiled, f"the step of {arm} in {dtype} was not compiled")
        return self._compiled[arm, dtype]

    def _flops_of(self, arm: str) -> float | None:
        """FLOPs of a step in bfloat16; None if they cannot be counted."""
        if arm not in self._flops:
            config = self._config("cifar10", arm, {"model.dtype": "bfloat16"})
            try:
                self._flops[arm] = count(config).flops_per_step
            except InputError:
                self._flops[arm] = None
        return self._flops[arm]


def utilisation(flops: float | None, seconds: float, peak: float | None) -> float | None:
    """Share of the rate `peak`, in FLOPs per second, that `flops` in `seconds` reach; None if one is unknown."""
    return None if flops is None or peak is None else flops / seconds / peak


def _params_after(compiled: timing.CompiledStep, steps: int) -> list[np.ndarray]:
    """All parameters after so many steps from the first state."""
    training = timing.Training(compiled)
    for _ in range(steps):
        jax.block_until_ready(training())
    return jax.tree.leaves(jax.device_get(training.state.params))


def _trained(run: Run, steps: int) -> Params:
    """The averaged parameters after so many steps from the first state."""
    state = run.init()
    for step in range(steps):
        state, _ = run.step(state, run.batch(step))
    return state.ema

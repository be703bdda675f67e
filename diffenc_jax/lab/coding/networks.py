"""The networks of a model for compression: the same compiled programs and batch size for both directions."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.lab.coding.choices import ANCESTRAL_ORDER, BIT_SWAP, Coding
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.parallel import sharding
from diffenc_jax.runs.base import BaseRun

# Options of the compiler by platform. Without this one it chooses a GPU's kernels by timing them, anew in each process,
# and takes some that add in any order.
COMPILER_OPTIONS: dict[str, dict[str, bool]] = {"gpu": {"xla_gpu_deterministic_ops": True}}


def check_coding(run: BaseRun, coding: Coding) -> None:
    """Raises InputError unless the configuration and the choices suit coding, the model and the devices."""
    config = run.config
    refused = {
        f"model.decoder.kind={config.model.decoder.kind}": run.model.decoder.takes_reals,
        f"model.code.kind={config.model.code.kind}": run.model.code,
        f"model.encoder.kind={config.model.encoder.kind}": run.model.encoder.scales_noise,
    }
    for key, is_refused in refused.items():
        require(not is_refused, f"there is no code for a model with {key}; take a run without")
    require(config.loss.depth is not None, "a code needs a finite depth, such as --config.loss.depth=50")
    require(jax.process_count() == 1, "coding runs on one host; start it without the others")
    require(
        not (run.model.encoder.drifts and coding.order == BIT_SWAP),
        f"order={BIT_SWAP} needs an encoder that leaves the image as it is; take {ANCESTRAL_ORDER}",
    )


class CodingNetworks:
    """The networks of a model with its parameters, compiled for batches of B images.

    A call takes the arrays of n <= B images. From equal arrays it computes float64 results that are equal bit for bit.

    Attributes:
      spec: the images.
      drifts: whether the encoder changes the image.
      batch_size: B.
      gamma: γ at the ends of the steps, [T + 1], or [T + 1, H, W, C] if each dimension has its own.
    """

    def __init__(self, run: BaseRun, params: Params, steps: Steps, batch_size: int):
        """Networks for batches of `batch_size` images, rounded up to a multiple of the number of devices."""
        model, self._mesh = run.model, run.mesh
        self.spec, self.drifts = model.spec, model.encoder.drifts
        self.batch_size = sharding.round_up(self._mesh, batch_size)
        self._params, self._steps = params, steps
        self._encode, self._model = _programs(model, self._mesh.devices.flat[0].platform)
        self.gamma = np.asarray(model.bind(params).gammas(steps.gamma))

    def encode(self, i: int, pixels: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """x_t [n, H, W, C] at γ_i of pixels [n, H, W, C] with labels [n, ...]."""
        return self._run(partial(self._encode, self._params, self._steps.gamma[i]), pixels, labels)

    def model(self, i: int, z_t: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [n, H, W, C] of p(z_i | z_{i+1}, labels [n, ...]), with z_{i+1} = z_t."""
        return self._run(partial(self._model, self._params, self._steps, np.int32(i)), z_t.astype(np.float32), labels)

    def _run(self, program: Callable, *rows: np.ndarray | None) -> Any:
        """The results of a program for n images, whose arrays [n, ...] are filled up with zeros to a whole batch."""
        count = len(jax.tree.leaves(rows)[0])
        filled = jax.tree.map(lambda a: np.pad(a, [(0, self.batch_size - count)] + [(0, 0)] * (a.ndim - 1)), rows)
        results = program(*sharding.to_devices(self._mesh, filled))
        return jax.tree.map(lambda a: np.asarray(a, np.float64)[:count], results)


@lru_cache(maxsize=4)
def _programs(model: Model, platform: str) -> tuple[Callable, Callable]:
    """The programs behind `CodingNetworks.encode` and `CodingNetworks.model`, compiled once for all steps."""
    compiled = partial(jax.jit, compiler_options=COMPILER_OPTIONS.get(platform))

    def bound(params, labels, size):
        return bind_to(model, params, Batch(None, labels, model.no_augmentation(size)))

    @compiled
    def encode(params, gamma, pixels, labels):
        process = bound(params, labels, len(pixels))
        return process.encoder.mean(process.decoder.values(pixels), process.gammas_of(gamma, len(pixels)))

    @compiled
    def model_at(params, steps, i, z_t, labels):
        process = bound(params, labels, len(z_t))
        return model_step(process, z_t, process.step(steps, i, len(z_t)))

    return encode, model_at

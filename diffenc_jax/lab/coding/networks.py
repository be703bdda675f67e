"""The networks of a model for compression: the same compiled programs and batch size for both directions."""

from collections.abc import Callable
from functools import lru_cache, partial

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
    """The networks of a model with its parameters, for batches of one size B.

    From equal arrays they compute results that are equal bit for bit.

    Attributes:
      pixel_levels: number V of values that a pixel can have.
      shape: [B, H, W, C].
      gamma: γ at the ends of the steps, [T + 1], or [T + 1, H, W, C] if each dimension has its own.
    """

    def __init__(self, run: BaseRun, params: Params, steps: Steps, batch_size: int):
        """Networks for batches of `batch_size` images, rounded up to a multiple of the number of devices."""
        model, self._mesh = run.model, run.mesh
        self.drifts, self.pixel_levels = model.encoder.drifts, model.spec.levels
        self.shape = (sharding.round_up(self._mesh, batch_size), *model.spec.shape)
        self._params, self._steps = params, steps
        self._encode, self._model = _programs(model, self._mesh.devices.flat[0].platform)
        self.gamma = np.asarray(model.bind(params).gammas(steps.gamma))

    def encode(self, i: int, pixels: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """x_t [B, H, W, C] at γ_i of pixels [B, H, W, C] with labels [B, ...]."""
        batch = sharding.to_devices(self._mesh, (pixels, labels))
        return np.asarray(self._encode(self._params, self._steps.gamma[i], *batch))

    def model(self, i: int, z_t: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [B, H, W, C] of p(z_i | z_{i+1}, labels [B, ...]), with z_{i+1} = z_t."""
        batch = sharding.to_devices(self._mesh, (z_t.astype(np.float32), labels))
        mean, std = self._model(self._params, self._steps, np.int32(i), *batch)
        return np.asarray(mean), np.asarray(std)


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

"""The networks of a model as compression calls them: one compiled program and one batch size for both directions."""

import time
from collections.abc import Callable
from functools import lru_cache, partial

import jax
import numpy as np

from diffenc_jax.config.sections import CompressConfig
from diffenc_jax.core.errors import require
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.lab.coding.coder import Coder, order_for
from diffenc_jax.lab.coding.lattice import Lattice
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.parallel import sharding
from diffenc_jax.runs.experiment import Experiment

# Options of the compiler by platform. Without this one it chooses a GPU's kernels by timing them, anew in each process,
# and takes some that add in any order.
COMPILER_OPTIONS: dict[str, dict[str, bool]] = {"gpu": {"xla_gpu_deterministic_ops": True}}


def check_coding(experiment: Experiment) -> None:
    """Raises InputError unless the configuration suits coding, the model and the devices."""
    config = experiment.config
    require(
        not experiment.model.labels,
        "a code of a model with model.labels=True would have to send the labels as well; take a run without labels",
    )
    require(
        experiment.model.code is None,
        f"there is no compression with model.code.kind={config.model.code.kind}, a code that would have to be sent as "
        "well; take a run without one",
    )
    require(
        not experiment.model.encoder.scales_noise,
        f"there is no code for model.encoder.kind={config.model.encoder.kind}, which scales the noise; take another",
    )
    require(config.loss.depth is not None, "a code needs a finite depth, such as --config.loss.depth=50")
    require(jax.process_count() == 1, "coding runs on one host; start it without the others")
    order_for(config.compress.order, experiment.model.encoder.drifts)


class CodingNetworks:
    """`coder.Networks` of a model with its parameters.

    Attributes:
      pixel_levels, shape: as in `coder.Networks`.
      gamma: γ at the ends of the steps, [T + 1], or [T + 1, H, W, C] if each dimension has its own.
      seconds: time that calls took so far.
    """

    def __init__(self, experiment: Experiment, params: Params, steps: Steps, batch_size: int):
        """Networks for batches of `batch_size` images, rounded up to a multiple of the number of devices."""
        model, self._mesh = experiment.model, experiment.mesh
        self.drifts, self.pixel_levels = model.encoder.drifts, model.spec.pixel_levels
        self.shape = (sharding.round_up(self._mesh, batch_size), *model.spec.shape)
        self.seconds = 0.0
        self._params, self._steps = params, steps
        self._encode, self._model = _programs(model, self._mesh.devices.flat[0].platform)
        self.gamma = np.asarray(model.bind(params).gammas(steps.gamma))

    def probe(self) -> list[np.ndarray]:
        """Outputs of the networks for certain noise and pixels, which differ where they are computed otherwise."""
        z = np.random.default_rng(0).normal(size=self.shape)
        pixels = np.random.default_rng(0).integers(self.pixel_levels, size=self.shape, dtype=np.uint8)
        last = self._steps.depth - 1
        return [self.encode(last, pixels), *self.model(0, z), *self.model(last, z)]

    def encode(self, i: int, pixels: np.ndarray) -> np.ndarray:
        (x_t,) = self._timed(lambda pixels: (self._encode(self._params, self._steps.gamma[i], pixels),), pixels)
        return x_t

    def model(self, i: int, z_t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        call = lambda z_t: self._model(self._params, self._steps, np.int32(i), z_t)  # noqa: E731
        mean, std = self._timed(call, z_t.astype(np.float32))
        return mean, std

    def _timed(self, call: Callable[[jax.Array], tuple[jax.Array, ...]], batch: np.ndarray) -> list[np.ndarray]:
        start = time.perf_counter()
        results = [np.asarray(result) for result in call(sharding.to_devices(self._mesh, batch))]
        self.seconds += time.perf_counter() - start
        return results


def make_coder(config: CompressConfig, networks: CodingNetworks) -> Coder:
    """The coder that `config.compress` describes; raises InputError if it does not suit the encoder or the steps."""
    return Coder(networks, Lattice(networks.gamma, config.spacing), order_for(config.order, networks.drifts))


@lru_cache(maxsize=4)
def _programs(model: Model, platform: str) -> tuple[Callable, Callable]:
    """The programs behind `CodingNetworks.encode` and `CodingNetworks.model`, compiled once for all steps."""
    compiled = partial(jax.jit, compiler_options=COMPILER_OPTIONS.get(platform))

    def bound(params, size):
        return bind_to(model, params, Batch(None, None, model.no_augmentation(size)))

    @compiled
    def encode(params, gamma, pixels):
        process = bound(params, len(pixels))
        return process.encoder.mean(process.pixel_values(pixels), process.gammas_of(gamma, len(pixels)))

    @compiled
    def model_at(params, steps, i, z_t):
        process = bound(params, len(z_t))
        return model_step(process, z_t, process.step(steps, i, len(z_t)))

    return encode, model_at

"""Images, their paths, and reconstructions: each a function of (seed, image number) only."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config.sections import SOFTMAX
from diffenc_jax.core.streams import draw_each, stream, uniform
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.gaussian import alpha, diffuse
from diffenc_jax.diffusion.process import Process
from diffenc_jax.model import Params
from diffenc_jax.parallel import sharding
from diffenc_jax.parallel.memory import within_memory
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.sampling.samplers import PIXELS, Ancestral, Likelihood, Request, Sampler, first_noise

# Called with the share of a batch's path that is complete since the last call.
OnPart = Callable[[float], None]


class Frame(NamedTuple):
    """Images on their path from noise to data.

    Attributes:
      gamma: γ.
      z: [N, H, W, C], on the axis on which pixel k has the value k.
      x_hat: [N, H, W, C] on the same axis, x̂ = α z - σ v̂, the model's estimate of the encoded images x_t.
    """

    gamma: float
    z: np.ndarray
    x_hat: np.ndarray


class Reconstruction(NamedTuple):
    """uint8 [N, H, W, C] sampled from z at γ, the end of a step that is nearest to time t."""

    t: float
    gamma: float
    images: np.ndarray


class Drawn(NamedTuple):
    """Images uint8 [N, H, W, C], and their likelihoods [N] if `sample.likelihood` asks for them."""

    images: np.ndarray
    likelihood: Likelihood | None


class SamplerFunctions:
    """A sampler and the jitted functions around it, for any parameters; each is compiled once per batch size."""

    def __init__(self, experiment: Experiment, sampler: Sampler):
        model, output, shape = experiment.model, experiment.config.sample.output, experiment.model.spec.shape
        self.experiment, self.sampler = experiment, sampler
        batched, replicated = sharding.batched(experiment.mesh), sharding.replicated(experiment.mesh)
        self.fold = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)), out_shardings=batched)
        self.noise = jax.jit(lambda keys: first_noise(keys, shape), out_shardings=batched)
        self.diffuse = jax.jit(
            lambda params, request, *at: _diffuse(request.bind(model, params), request.keys, *at), out_shardings=batched
        )
        self.frame = jax.jit(
            lambda params, request, *at: _frame(request.bind(model, params), *at), out_shardings=replicated
        )
        self.code = jax.jit(model.code_of, out_shardings=batched)
        self.pixels = jax.jit(
            lambda params, request, z: draw_pixels(request.bind(model, params), request.keys, z, output),
            out_shardings=replicated,
        )


class Drawer:
    """Draws images with one set of parameters."""

    def __init__(self, functions: SamplerFunctions, params: Params):
        self._functions, self._params = functions, params
        self._experiment, self._sampler = functions.experiment, functions.sampler

    @cached_property
    def _prepared(self) -> Any:
        return self._sampler.prepare(self._params)

    def images(self, first: int, count: int, on_part: OnPart) -> Drawn:
        """Images number first .. first + count - 1, a multiple of the devices."""
        size = self._experiment.config.sample.batch_size
        with within_memory("a batch of samples", f"lower sample.batch_size={size}"):
            request = self._request(first + np.arange(count))
            return self._finish(request, self._functions.noise(request.keys), on_part)

    def path(self, count: int, on_part: OnPart) -> list[Frame]:
        """The first `count` images at every stop from z_1 to z_0, by the ancestral sampler."""
        assert isinstance(self._sampler, Ancestral)
        steps, request = self._prepared, self._request(np.arange(sharding.round_up(self._experiment.mesh, count)))

        def frame(z: jax.Array, taken: int) -> Frame:
            gamma = steps.gamma[steps.depth - taken]
            pictures = self._functions.frame(self._params, request, z, gamma)
            return Frame(float(gamma), *(np.asarray(a)[:count] for a in pictures))

        z = self._functions.noise(request.keys)
        frames = [frame(z, 0)]
        walk = self._sampler.walk(self._params, steps, request, z)
        for taken, stop in zip(self._sampler.stops()[1:], walk, strict=True):
            frames.append(frame(stop.z, taken))
            on_part(stop.share)
        return frames

    def reconstruct(self, images: Batch, t: float, on_part: OnPart) -> Reconstruction:
        """N `images` diffused to z_t, and sampled from there by the remaining ancestral steps.

        An image's noise depends on (seed, its place in `images`, step) only, so that it is the same at every t.
        """
        mesh, steps, count = self._experiment.mesh, self._prepared, len(images.pixels)
        rows = np.arange(sharding.round_up(mesh, count))
        goal = self._experiment.model.bind(self._params).gamma(jnp.float32(t))
        at = int(jnp.argmin(jnp.abs(steps.gamma - goal)))
        filled = sharding.to_devices(mesh, sharding.fetch(images, rows % count))
        code = self._functions.code(self._params, filled.pixels) if self._experiment.model.code else None
        request = Request(self._keys("reconstruct", rows), filled.labels, code)
        z = self._functions.diffuse(self._params, request, filled.pixels, steps.gamma[at])
        finished = self._finish(request, z, on_part, first=steps.depth - at)
        return Reconstruction(t, float(steps.gamma[at]), finished.images[:count])

    def _finish(self, request: Request, z: jax.Array, on_part: OnPart, **options: int) -> Drawn:
        """The images at the end of the path from z."""
        likelihood = None
        for stop in self._sampler.walk(self._params, self._prepared, request, z, **options):
            z, likelihood = stop.z, stop.likelihood
            on_part(stop.share)
        images = np.asarray(self._functions.pixels(self._params, request, z))
        return Drawn(images, jax.tree.map(lambda nats: np.asarray(nats, np.float64), likelihood))

    def _request(self, numbers: np.ndarray) -> Request:
        """The images with these numbers, of the classes that `labels_of` says."""
        labels = labels_of(self._experiment, numbers)
        return Request(self._keys("sample", numbers), sharding.to_devices(self._experiment.mesh, labels))

    def _keys(self, name: str, numbers: np.ndarray) -> jax.Array:
        """Keys [B] of the images with these numbers."""
        root = stream(self._experiment.config.sample.seed, name)
        return self._functions.fold(root, sharding.to_devices(self._experiment.mesh, numbers.astype(np.uint32)))


def labels_of(experiment: Experiment, numbers: np.ndarray) -> np.ndarray | None:
    """Classes int32 [B] of the samples with these numbers; None for a model without labels.

    All are `sample.label`. If it is None, the numbers count through the classes, so that all have equally many.
    """
    label, model = experiment.config.sample.label, experiment.model
    if not model.labels:
        return None
    return (numbers % model.spec.num_classes if label is None else np.full(len(numbers), label)).astype(np.int32)


def draw_pixels(process: Process, keys: jax.Array, z_0: jax.Array, output: str) -> jax.Array:
    """uint8 [B, H, W, C] from z_0: the most probable pixels, or for SOFTMAX a draw from p(pixel | z_0)."""
    gamma_0, levels = process.endpoints[0], process.pixel_levels
    u = z_0 / alpha(gamma_0)
    if output == SOFTMAX:
        share = draw_each(uniform, keys, PIXELS, z_0.shape[1:])
        return decoder.draw_pixel(u, gamma_0, levels, share)
    return decoder.nearest_pixel(u, levels)


def _diffuse(process: Process, keys: jax.Array, images: jax.Array, gamma: jax.Array) -> jax.Array:
    """z [B, ...] of uint8 [B, H, W, C] at γ []."""
    gammas = process.gammas_of(gamma, len(images))
    encoded = process.encoder.encode(process.pixel_values(images), gammas)
    return diffuse(encoded.x_t, gammas, encoded.noise(first_noise(keys, images.shape[1:])))[0]


def _frame(process: Process, z: jax.Array, gamma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """z and x̂ [B, ...] at γ [], in bins."""
    x_hat = process.estimate(z, process.gammas_of(gamma, len(z))).x_hat
    return decoder.in_bins(z, process.pixel_levels), decoder.in_bins(x_hat, process.pixel_levels)

"""Images, what is seen of them on the way, and images drawn anew: each from (seed, its number) alone."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.gaussian import alpha, diffuse, image_from_velocity
from diffenc_jax.model import Model, Params
from diffenc_jax.sampling.config import SOFTMAX, SampleConfig
from diffenc_jax.sampling.samplers import NOISE, PIXELS, Sampler
from diffenc_jax.streams import gaussian_each, stream, uniform
from diffenc_jax.train import sharding

# Told what part of a batch's way was gone since it was last told.
OnPart = Callable[[float], None]


class Frame(NamedTuple):
    """Some images on their way.

    Attributes:
      gamma: γ.
      z: [N, H, W, C], on the axis on which pixel k stands at k.
      x_hat: ditto, x̂ = α z - σ v̂, the model's estimate of the encoded images x_t.
    """

    gamma: float
    z: np.ndarray
    x_hat: np.ndarray


class Redrawn(NamedTuple):
    """uint8 [N, H, W, C] drawn anew from z at γ, of all ends of steps the nearest to time t."""

    t: float
    gamma: float
    images: np.ndarray


class Drawer:
    """Draws from one model and its parameters; everything is compiled once for each size of a batch."""

    def __init__(self, model: Model, params: Params, sampler: Sampler, settings: SampleConfig, mesh: Mesh):
        self._model, self._params, self._sampler, self._mesh = model, params, sampler, mesh
        self._seed = settings.seed
        batched, whole = sharding.batched(mesh), sharding.replicated(mesh)
        self._keys = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)), out_shardings=batched)
        self._noise = jax.jit(partial(noise, model), out_shardings=batched)
        self._diffused = jax.jit(partial(_diffused, model), out_shardings=batched)
        self._seen = jax.jit(partial(_seen, model), out_shardings=whole)
        self._pixels = jax.jit(partial(pixels, model, settings.output), out_shardings=whole)

    @cached_property
    def _prepared(self) -> Any:
        return self._sampler.prepare(self._params)

    def images(self, first: int, count: int, on_part: OnPart) -> np.ndarray:
        """The images number first .. first + count - 1, a batch that fills the devices: uint8 [count, H, W, C]."""
        keys = self._keys_of("sample", first + np.arange(count))
        return self._arrived(keys, self._noise(keys), on_part)

    def path(self, count: int, on_part: OnPart) -> list[Frame]:
        """The first `count` images at every stop from z_1 to z_0, by the ancestral sampler."""
        steps, keys = self._prepared, self._keys_of("sample", np.arange(sharding.round_up(self._mesh, count)))

        def frame(z, taken):
            gamma = steps.gamma[steps.depth - taken]
            return Frame(float(gamma), *(np.asarray(a)[:count] for a in self._seen(self._params, z, gamma)))

        z = self._noise(keys)
        frames = [frame(z, 0)]
        walk = self._sampler.walk(self._params, steps, keys, z)
        for taken, (z, share) in zip(self._sampler.stops()[1:], walk, strict=True):
            frames.append(frame(z, taken))
            on_part(share)
        return frames

    def redrawn(self, images: np.ndarray, t: float, on_part: OnPart) -> Redrawn:
        """uint8 `images` [N, H, W, C] diffused to z_t, and drawn from there by the ancestral steps that are left.

        An image's noise comes from (seed, its place among them, step) alone, so it is the same at every t.
        """
        steps, size = self._prepared, sharding.round_up(self._mesh, len(images))
        goal = self._model.gamma(self._params)(jnp.float32(t))
        at = int(jnp.argmin(jnp.abs(steps.gamma - goal)))
        keys = self._keys_of("reconstruct", np.arange(size))
        filled = sharding.to_devices(self._mesh, np.resize(images, (size, *images.shape[1:])))
        z = self._diffused(self._params, keys, filled, steps.gamma[at])
        arrived = self._arrived(keys, z, on_part, first=steps.depth - at)
        return Redrawn(t, float(steps.gamma[at]), arrived[: len(images)])

    def _arrived(self, keys: jax.Array, z: jax.Array, on_part: OnPart, **options: int) -> np.ndarray:
        """The images at the end of the way from z."""
        for stop in self._sampler.walk(self._params, self._prepared, keys, z, **options):
            z = stop.z
            on_part(stop.share)
        return np.asarray(self._pixels(self._params, keys, z))

    def _keys_of(self, name: str, numbers: np.ndarray) -> jax.Array:
        """[B] the keys of the images of these numbers."""
        return self._keys(stream(self._seed, name), sharding.to_devices(self._mesh, numbers.astype(np.uint32)))


def noise(model: Model, keys: jax.Array) -> jax.Array:
    """ε [B, H, W, C] of the images with `keys` [B]: z_1, or what they are diffused with."""
    return gaussian_each(keys, NOISE, model.spec.shape)


def _diffused(model: Model, params: Params, keys: jax.Array, images: jax.Array, gamma: jax.Array) -> jax.Array:
    """z [B, ...] of uint8 [B, H, W, C] at γ []."""
    gamma = jnp.full(len(images), gamma)
    x_t = model.encoder(params).mean(decoder.pixel_values(images, model.spec.levels), gamma)
    return diffuse(x_t, gamma, noise(model, keys))[0]


def _seen(model: Model, params: Params, z: jax.Array, gamma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """z and x̂ [B, ...] at γ [], in bins."""
    each = jnp.full(len(z), gamma)
    x_hat = image_from_velocity(z, model.predict_v(params)(z, each), each)
    return decoder.in_bins(z, model.spec.levels), decoder.in_bins(x_hat, model.spec.levels)


def pixels(model: Model, output: str, params: Params, keys: jax.Array, z_0: jax.Array) -> jax.Array:
    """uint8 [B, H, W, C] of z_0, by `output`."""
    gamma_0, levels = model.ends(params)[0], model.spec.levels
    u = z_0 / alpha(gamma_0)
    if output == SOFTMAX:
        share = jax.vmap(lambda key: uniform(jax.random.fold_in(key, PIXELS), model.spec.shape))(keys)
        return decoder.draw_pixel(u, gamma_0, levels, share)
    return decoder.nearest_pixel(u, levels)

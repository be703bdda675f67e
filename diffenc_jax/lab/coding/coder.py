"""Bits-back coding of images by a diffusion model of finite depth, and its inverse (arXiv 1901.04866).

An image is coded together with latents z_0, .., z_T. The latents are popped from the stack under the path q, and pushed
under the model p. On average, the growth of the stack is the bound at that depth in bits.

The order of these moves determines how many bits must be on the stack at the beginning:

  ancestral   z_T, .., z_0 are popped from q(z_T | x) and q(z_i | z_{i+1}, x); then the image is pushed under
              p(x | z_0), and z_0, .., z_T under p(z_i | z_{i+1}) and p(z_T). It suits every encoder.
  bit_swap    z_0 is popped from q(z_0 | x) and the image pushed; then each z_{i+1} is popped from q(z_{i+1} | z_i) and
              z_i pushed (arXiv 1905.06845). The beginning takes the bits of about two latents instead of T + 1. It
              needs an encoder that does not drift; otherwise q(z_{i+1} | z_i) would depend on x.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.core.errors import RunError
from diffenc_jax.lab.coding.choices import ANCESTRAL_ORDER, BIT_SWAP, Coding
from diffenc_jax.lab.coding.lattice import Gaussians, Lattice
from diffenc_jax.lab.coding.networks import CodingNetworks
from diffenc_jax.lab.coding.stack import PRECISION, Stack

# Integers, not negative, that choose the noise of an image.
Seed = tuple[int, ...]


class Lengths(NamedTuple):
    """Lengths of the codes of images, nats [n] each.

    Attributes:
      code: growth of the stack.
      bound: the bound at this depth with the same latents, -ln p(x | z_0) and a divergence per latent.
    """

    code: np.ndarray
    bound: np.ndarray


class Coder:
    """Codes batches of up to B images, each on its own stack."""

    def __init__(self, networks: CodingNetworks, lattice: Lattice, order: str):
        self.networks, self.lattice, self.order = networks, lattice, order

    def encode(
        self, stacks: Sequence[Stack], pixels: np.ndarray, seeds: Sequence[Seed], labels: np.ndarray | None = None
    ) -> Lengths:
        """Push images, uint8 [n, H, W, C], one on each of n stacks, with the seed of each image's noise.

        A model that is conditioned on labels needs the labels of the images, [n, ...], in both directions.
        """
        batch = _Batch(self, stacks, seeds, labels)
        batch.pixels = pixels
        before = np.array([stack.bits for stack in stacks])
        bound = np.zeros(len(pixels))
        for move, _ in batch.moves():
            nats = move()
            if nats is not None:
                bound += nats
        return Lengths(np.log(2) * (np.array([stack.bits for stack in stacks]) - before), bound)

    def decode(self, stacks: Sequence[Stack], seeds: Sequence[Seed], labels: np.ndarray | None = None) -> np.ndarray:
        """Undo `encode`: pop one image from each of n stacks, uint8 [n, H, W, C]."""
        batch = _Batch(self, stacks, seeds, labels)
        for _, undo in reversed(batch.moves()):
            undo()
        return batch.pixels


def make_coder(coding: Coding, networks: CodingNetworks) -> Coder:
    """The coder of these choices; raises InputError if it does not suit the encoder or the steps."""
    return Coder(networks, Lattice(networks.gamma, coding.spacing), order_for(coding, networks.drifts))


def order_for(coding: Coding, drifts: bool) -> str:
    """The order of coding: the chosen order or, by default, the order that takes fewer initial bits."""
    return coding.order or (ANCESTRAL_ORDER if drifts else BIT_SWAP)


class _Batch:
    """Images during coding: the known pixels and latents, and one stack per image.

    Attributes:
      pixels: uint8 [n, H, W, C], once they are known.
    """

    pixels: np.ndarray

    def __init__(self, coder: Coder, stacks: Sequence[Stack], seeds: Sequence[Seed], labels: np.ndarray | None):
        self._networks, self._lattice, self._order = coder.networks, coder.lattice, coder.order
        self._stacks, self._seeds = stacks, seeds
        self._labels = None if labels is None else self._filled(labels)
        self._points: dict[int, np.ndarray] = {}  # z_i / δ_i [n, H, W, C], integers, by i
        self._encoded: dict[int, np.ndarray] = {}  # x_t at γ_i [n, H, W, C], by i

    def moves(self) -> list[tuple[Callable[[], np.ndarray | None], Callable[[], None]]]:
        """The moves of encoding and their inverses. A push of latents or images returns its nats of the bound."""
        levels, pixels = range(self._lattice.depth + 1), (self.push_pixels, self.pop_pixels)
        pops = [(partial(self.pop_path, i), partial(self.push_path, i)) for i in levels]
        pushes = [(partial(self.push_model, i), partial(self.pop_model, i)) for i in levels]
        if self._order == ANCESTRAL_ORDER:
            return [*reversed(pops), pixels, *pushes]
        swaps = [move for pair in zip(pops[1:], pushes[:-1], strict=True) for move in pair]
        return [pops[0], pixels, *swaps, pushes[-1]]

    def pop_path(self, i: int) -> None:
        """Combine the bits on top of each stack with random bits, and pop z_i.

        The bits pushed before are close to random only if the model predicts them well; otherwise z_i would depend on
        them.
        """
        path = self._path(i).rounded()
        self._mask(i, path)
        self._points[i] = self._each(Stack.pop_gaussian, *path)

    def push_path(self, i: int) -> None:
        """Undo `pop_path`; z_i is not needed any more."""
        path = self._path(i).rounded()
        self._each(Stack.push_gaussian, self._points.pop(i), *path)
        self._mask(i, path)

    def push_model(self, i: int) -> np.ndarray:
        """Push z_i, which is then not needed any more; returns the nats [n] that it adds to `Lengths.bound`."""
        model, path = self._model(i), self._backward(i)
        points = self._points.pop(i)
        self._each(Stack.push_any, points, *model)
        return path.divergence(model).sum(axis=(1, 2, 3))

    def pop_model(self, i: int) -> None:
        """Undo `push_model`."""
        self._points[i] = self._each(Stack.pop_any, *self._model(i))

    def push_pixels(self) -> np.ndarray:
        """Push the images; returns their nats [n]."""
        nats = []
        for stack, pixels, logs in zip(self._stacks, self.pixels, self._log_probabilities(), strict=True):
            symbols = pixels.reshape(-1).astype(np.int64)
            stack.push_categorical(symbols, np.exp(logs))
            nats.append(-logs[np.arange(len(symbols)), symbols].sum())
        return np.array(nats)

    def pop_pixels(self) -> None:
        """Undo `push_pixels`."""
        logs = self._log_probabilities()
        pixels = [stack.pop_categorical(np.exp(one)) for stack, one in zip(self._stacks, logs, strict=True)]
        self.pixels = np.stack(pixels).reshape(-1, *self._networks.shape[1:]).astype(np.uint8)

    def _mask(self, i: int, path: Gaussians) -> None:
        """Combine the bits that `path` takes from each stack with random bits, which depend on the image and on i.

        The information of n draws is their entropy ± √(n/2) nats, and the last draw reads PRECISION bits.
        """
        spare = PRECISION + 5 * math.sqrt(path.mean[0].size / 2) / math.log(2)
        for stack, seed, bits in zip(self._stacks, self._seeds, path.entropy() + spare, strict=True):
            count = math.ceil(bits / 16)  # half-words
            words = np.random.PCG64(np.random.SeedSequence((*seed, i))).random_raw(math.ceil(count / 4))
            stack.mask(words.view(np.uint16)[:count])

    def _path(self, i: int) -> Gaussians:
        """The distribution from which z_i is popped."""
        if self._order == ANCESTRAL_ORDER:
            return self._backward(i)
        return self._lattice.forward(i, self._z(i - 1)) if i else self._lattice.direct(0, self._x_t(0))

    def _backward(self, i: int) -> Gaussians:
        """q(z_i | z_{i+1}, x), or q(z_T | x)."""
        if i == self._lattice.depth:
            return self._lattice.direct(i, self._x_t(i))
        return self._lattice.backward(i, self._z(i + 1), self._x_t(i), self._x_t(i + 1))

    def _model(self, i: int) -> Gaussians:
        """p(z_i | z_{i+1}), or p(z_T) = N(0, I)."""
        if i == self._lattice.depth:
            shape = len(self._stacks), *self._networks.shape[1:]
            return self._lattice.model(i, np.zeros(shape), np.ones(shape))
        mean, std = (self._real(a) for a in self._networks.model(i, self._filled(self._z(i + 1)), self._labels))
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise RunError(f"the model's distribution of z_{i} is not finite or has no width: nothing can be coded")
        return self._lattice.model(i, mean, std)

    def _log_probabilities(self) -> Iterator[np.ndarray]:
        """For each image log p(pixel | z_0), [H · W · C, V] (diffusion/decoder.py)."""
        from scipy.special import log_softmax  # a sixth of a second that training does not need

        levels = self._networks.pixel_levels
        position = 0.5 * levels * (self._z(0) / self._lattice.alpha[0] + 1.0) - 0.5
        scale = 0.5 * levels * np.reshape(self._lattice.sigma[0] / self._lattice.alpha[0], (-1, 1))
        for image in position.reshape(len(position), -1, 1):
            yield log_softmax(-0.5 * np.square((image - np.arange(levels)) / scale), axis=1)

    def _z(self, i: int) -> np.ndarray:
        return self._points[i] * self._lattice.unit[i]

    def _x_t(self, i: int) -> np.ndarray:
        """x_t at γ_i; with bit_swap the encoder does not drift, so x_t is the same for all i."""
        i = i if self._order == ANCESTRAL_ORDER else 0
        if i not in self._encoded:
            self._encoded[i] = self._real(self._networks.encode(i, self._filled(self.pixels), self._labels))
        return self._encoded[i]

    def _each(self, operation: Callable[..., Any], *arrays: np.ndarray) -> Any:
        """The results [n, H, W, C] of applying an operation to each stack and its rows of the arrays."""
        rows = zip(*(array.reshape(len(array), -1) for array in arrays), strict=True)
        results = [operation(stack, *row) for stack, row in zip(self._stacks, rows, strict=True)]
        return None if results[0] is None else np.stack(results).reshape(arrays[0].shape)

    def _filled(self, rows: np.ndarray) -> np.ndarray:
        """The rows [n, ...] as a whole batch [B, ...], filled up with zeros."""
        batch = np.zeros((self._networks.shape[0], *rows.shape[1:]), rows.dtype)
        batch[: len(rows)] = rows
        return batch

    def _real(self, batch: np.ndarray) -> np.ndarray:
        """The rows that belong to images, in float64."""
        return np.asarray(batch, np.float64)[: len(self._stacks)]

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
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.core.errors import RunError
from diffenc_jax.lab.coding.choices import ANCESTRAL_ORDER, Coding
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
    """Codes batches of up to B images, each on its own stack.

    Attributes:
      networks: the networks of the model.
      lattice: the lattices of its latents.
      order: the order of pops and pushes.
    """

    def __init__(self, networks: CodingNetworks, choices: Coding):
        """Raises InputError if the choices do not suit the steps."""
        self.networks, self.lattice = networks, Lattice(networks.gamma, choices.spacing)
        self.order = choices.order_for(networks.drifts)

    def encode(
        self, stacks: Sequence[Stack], pixels: np.ndarray, seeds: Sequence[Seed], labels: np.ndarray | None = None
    ) -> Lengths:
        """Push images, uint8 [n, H, W, C], one on each of n stacks, with the seed of each image's noise.

        A model that is conditioned on labels needs the labels of the images, [n, ...], in both directions.
        """
        before = np.array([stack.bits for stack in stacks])
        moves = _Batch(self, stacks, seeds, labels, pixels).moves()
        bound = sum((move() for move, _ in moves), np.zeros(len(pixels)))
        return Lengths(np.log(2) * (np.array([stack.bits for stack in stacks]) - before), bound)

    def decode(self, stacks: Sequence[Stack], seeds: Sequence[Seed], labels: np.ndarray | None = None) -> np.ndarray:
        """Undo `encode`: pop one image from each of n stacks, uint8 [n, H, W, C]."""
        batch = _Batch(self, stacks, seeds, labels)
        for _, undo in reversed(batch.moves()):
            undo()
        return batch.pixels


@dataclass
class _Batch:
    """Images during coding: the known pixels and latents, and one stack per image.

    Attributes:
      pixels: uint8 [n, H, W, C]; None until they are decoded.
      points: z_i / δ_i [n, H, W, C], integers, by i.
      encoded: x_t at γ_i [n, H, W, C], by i.
    """

    coder: Coder
    stacks: Sequence[Stack]
    seeds: Sequence[Seed]
    labels: np.ndarray | None
    pixels: Any = None
    points: dict[int, np.ndarray] = field(default_factory=dict)
    encoded: dict[int, np.ndarray] = field(default_factory=dict)

    def moves(self) -> list[tuple[Callable[[], Any], Callable[[], None]]]:
        """The moves of encoding, which return the nats [n] that they add to `Lengths.bound`, and their inverses."""
        levels, pixels = range(self.coder.lattice.depth + 1), (self.push_pixels, self.pop_pixels)
        pops = [(partial(self.pop_path, i), partial(self.push_path, i)) for i in levels]
        pushes = [(partial(self.push_model, i), partial(self.pop_model, i)) for i in levels]
        if self.coder.order == ANCESTRAL_ORDER:
            return [*reversed(pops), pixels, *pushes]
        swaps = [move for pair in zip(pops[1:], pushes[:-1], strict=True) for move in pair]
        return [pops[0], pixels, *swaps, pushes[-1]]

    def pop_path(self, i: int) -> float:
        """Combine the bits on top of each stack with random bits, and pop z_i, which adds no nats to the bound.

        The bits pushed before are close to random only if the model predicts them well; otherwise z_i would depend on
        them.
        """
        path = self._path(i).rounded()
        self._mask(i, path)
        self.points[i] = self._each(Stack.pop_gaussian, *path)
        return 0.0

    def push_path(self, i: int) -> None:
        """Undo `pop_path`; z_i is not needed any more."""
        path = self._path(i).rounded()
        self._each(Stack.push_gaussian, self.points.pop(i), *path)
        self._mask(i, path)

    def push_model(self, i: int) -> np.ndarray:
        """Push z_i, which is then not needed any more; returns the nats [n] that it adds to `Lengths.bound`."""
        model, path = self._model(i), self._backward(i)
        self._each(Stack.push_any, self.points.pop(i), *model)
        return path.divergence(model).sum(axis=(1, 2, 3))

    def pop_model(self, i: int) -> None:
        """Undo `push_model`."""
        self.points[i] = self._each(Stack.pop_any, *self._model(i))

    def push_pixels(self) -> np.ndarray:
        """Push the images; returns their nats [n]."""
        nats = []
        for stack, pixels, logs in zip(self.stacks, self.pixels, self._log_probabilities(), strict=True):
            symbols = pixels.reshape(-1).astype(np.int64)
            stack.push_categorical(symbols, np.exp(logs))
            nats.append(-logs[np.arange(len(symbols)), symbols].sum())
        return np.array(nats)

    def pop_pixels(self) -> None:
        """Undo `push_pixels`."""
        logs = self._log_probabilities()
        pixels = [stack.pop_categorical(np.exp(one)) for stack, one in zip(self.stacks, logs, strict=True)]
        self.pixels = np.stack(pixels).reshape(-1, *self.coder.networks.spec.shape).astype(np.uint8)

    def _mask(self, i: int, path: Gaussians) -> None:
        """Combine the bits that `path` takes from each stack with random bits, which depend on the image and on i.

        The information of n draws is their entropy ± √(n/2) nats, and the last draw reads PRECISION bits.
        """
        spare = PRECISION + 5 * math.sqrt(path.mean[0].size / 2) / math.log(2)
        for stack, seed, bits in zip(self.stacks, self.seeds, path.entropy() + spare, strict=True):
            count = math.ceil(bits / 16)  # half-words
            words = np.random.PCG64(np.random.SeedSequence((*seed, i))).random_raw(math.ceil(count / 4))
            stack.mask(words.view(np.uint16)[:count])

    def _path(self, i: int) -> Gaussians:
        """The distribution from which z_i is popped."""
        if self.coder.order == ANCESTRAL_ORDER:
            return self._backward(i)
        return self.coder.lattice.forward(i, self._z(i - 1)) if i else self.coder.lattice.direct(0, self._x_t(0))

    def _backward(self, i: int) -> Gaussians:
        """q(z_i | z_{i+1}, x), or q(z_T | x)."""
        if i == self.coder.lattice.depth:
            return self.coder.lattice.direct(i, self._x_t(i))
        return self.coder.lattice.backward(i, self._z(i + 1), self._x_t(i), self._x_t(i + 1))

    def _model(self, i: int) -> Gaussians:
        """p(z_i | z_{i+1}), or p(z_T) = N(0, I)."""
        if i == self.coder.lattice.depth:
            shape = len(self.stacks), *self.coder.networks.spec.shape
            return self.coder.lattice.model(i, np.zeros(shape), np.ones(shape))
        mean, std = self.coder.networks.model(i, self._z(i + 1), self.labels)
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise RunError(f"the model's distribution of z_{i} is not finite or has no width: nothing can be coded")
        return self.coder.lattice.model(i, mean, std)

    def _log_probabilities(self) -> Iterator[np.ndarray]:
        """For each image log p(pixel | z_0), [H · W · C, V] (diffusion/decoder.py)."""
        from scipy.special import log_softmax  # a sixth of a second that training does not need

        levels = self.coder.networks.spec.levels
        position = 0.5 * levels * (self._z(0) / self.coder.lattice.alpha[0] + 1.0) - 0.5
        scale = 0.5 * levels * np.reshape(self.coder.lattice.sigma[0] / self.coder.lattice.alpha[0], (-1, 1))
        for image in position.reshape(len(position), -1, 1):
            yield log_softmax(-0.5 * np.square((image - np.arange(levels)) / scale), axis=1)

    def _z(self, i: int) -> np.ndarray:
        return self.points[i] * self.coder.lattice.unit[i]

    def _x_t(self, i: int) -> np.ndarray:
        """x_t at γ_i; with bit_swap the encoder does not drift, so x_t is the same for all i."""
        i = i if self.coder.order == ANCESTRAL_ORDER else 0
        if i not in self.encoded:
            self.encoded[i] = self.coder.networks.encode(i, self.pixels, self.labels)
        return self.encoded[i]

    def _each(self, operation: Callable[..., Any], *arrays: np.ndarray) -> Any:
        """The results [n, H, W, C] of applying an operation to each stack and its rows of the arrays."""
        rows = zip(*(array.reshape(len(array), -1) for array in arrays), strict=True)
        results = [operation(stack, *row) for stack, row in zip(self.stacks, rows, strict=True)]
        return None if results[0] is None else np.stack(results).reshape(arrays[0].shape)

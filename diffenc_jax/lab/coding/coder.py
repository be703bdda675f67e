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


@dataclass
class Coder:
    """Codes up to B images, each on its own stack.

    Attributes:
      networks, lattice: the networks of the model, and the lattices of its latents.
      order: the order of pops and pushes.
      stacks: one per image.
      seeds: the seed of each image's noise.
      labels: [n, ...], in both directions, for a model that is conditioned on labels.
      pixels: uint8 [n, H, W, C], once they are known.
      points: z_i / δ_i [n, H, W, C], integers, by i.
      encoded: x_t at γ_i [n, H, W, C], by i.
    """

    networks: CodingNetworks
    lattice: Lattice
    order: str
    stacks: Sequence[Stack]
    seeds: Sequence[Seed]
    labels: np.ndarray | None = None
    pixels: np.ndarray = field(init=False)
    points: dict[int, np.ndarray] = field(default_factory=dict)
    encoded: dict[int, np.ndarray] = field(default_factory=dict)

    def encode(self, pixels: np.ndarray) -> Lengths:
        """Push images, uint8 [n, H, W, C], one on each stack."""
        self.pixels, before = pixels, self._bits()
        bound = sum((move() for move, _ in self._moves()), np.zeros(len(pixels)))
        return Lengths(np.log(2) * (self._bits() - before), bound)

    def decode(self) -> np.ndarray:
        """Undo `encode`: pop one image from each stack, uint8 [n, H, W, C]."""
        for _, undo in reversed(self._moves()):
            undo()
        return self.pixels

    def _moves(self) -> list[tuple[Callable[[], Any], Callable[[], None]]]:
        """The moves of encoding, which return the nats [n] that they add to `Lengths.bound`, and their inverses."""
        levels, pixels = range(self.lattice.depth + 1), (self._push_pixels, self._pop_pixels)
        pops = [(partial(self._pop_path, i), partial(self._push_path, i)) for i in levels]
        pushes = [(partial(self._push_model, i), partial(self._pop_model, i)) for i in levels]
        if self.order == ANCESTRAL_ORDER:
            return [*reversed(pops), pixels, *pushes]
        swaps = [move for pair in zip(pops[1:], pushes[:-1], strict=True) for move in pair]
        return [pops[0], pixels, *swaps, pushes[-1]]

    def _pop_path(self, i: int) -> float:
        """Combine the bits on top of each stack with random bits, and pop z_i, which adds no nats to the bound.

        The bits pushed before are close to random only if the model predicts them well; otherwise z_i would depend on
        them.
        """
        path = self._path(i).rounded()
        self._mask(i, path)
        self.points[i] = self._each(Stack.pop_gaussian, *path)
        return 0.0

    def _push_path(self, i: int) -> None:
        """Undo `_pop_path`; z_i is not needed any more."""
        path = self._path(i).rounded()
        self._each(Stack.push_gaussian, self.points.pop(i), *path)
        self._mask(i, path)

    def _push_model(self, i: int) -> np.ndarray:
        """Push z_i, which is then not needed any more; returns the nats [n] that it adds to `Lengths.bound`."""
        model, path = self._model(i), self._backward(i)
        self._each(Stack.push_any, self.points.pop(i), *model)
        return path.divergence(model).sum(axis=(1, 2, 3))

    def _pop_model(self, i: int) -> None:
        """Undo `_push_model`."""
        self.points[i] = self._each(Stack.pop_any, *self._model(i))

    def _push_pixels(self) -> np.ndarray:
        """Push the images; returns their nats [n]."""
        nats = []
        for stack, pixels, logs in zip(self.stacks, self.pixels, self._log_probabilities(), strict=True):
            symbols = pixels.reshape(-1).astype(np.int64)
            stack.push_categorical(symbols, np.exp(logs))
            nats.append(-logs[np.arange(len(symbols)), symbols].sum())
        return np.array(nats)

    def _pop_pixels(self) -> None:
        """Undo `_push_pixels`."""
        logs = self._log_probabilities()
        pixels = [stack.pop_categorical(np.exp(one)) for stack, one in zip(self.stacks, logs, strict=True)]
        self.pixels = np.stack(pixels).reshape(-1, *self.networks.spec.shape).astype(np.uint8)

    def _mask(self, i: int, path: Gaussians) -> None:
        """Combine the bits that `path` takes from each stack with random bits, which depend on the image and on i.

        The information of n draws is their entropy ± √(n/2) nats, and the last draw reads PRECISION bits.
        """
        spare = PRECISION + 5 * math.sqrt(path.mean[0].size / 2) / math.log(2)
        for stack, seed, bits in zip(self.stacks, self.seeds, path.entropy() + spare, strict=True):
            count = math.ceil(bits / 16)  # half-words
            words = np.random.PCG64(np.random.SeedSequence((*seed, i))).random_raw(math.ceil(count / 4))
            stack.mask(words.view(np.uint16)[:count])

    def _bits(self) -> np.ndarray:
        return np.array([stack.bits for stack in self.stacks])

    def _path(self, i: int) -> Gaussians:
        """The distribution from which z_i is popped."""
        if self.order == ANCESTRAL_ORDER:
            return self._backward(i)
        return self.lattice.forward(i, self._z(i - 1)) if i else self.lattice.direct(0, self._x_t(0))

    def _backward(self, i: int) -> Gaussians:
        """q(z_i | z_{i+1}, x), or q(z_T | x)."""
        if i == self.lattice.depth:
            return self.lattice.direct(i, self._x_t(i))
        return self.lattice.backward(i, self._z(i + 1), self._x_t(i), self._x_t(i + 1))

    def _model(self, i: int) -> Gaussians:
        """p(z_i | z_{i+1}), or p(z_T) = N(0, I)."""
        if i == self.lattice.depth:
            shape = len(self.stacks), *self.networks.spec.shape
            return self.lattice.model(i, np.zeros(shape), np.ones(shape))
        mean, std = self.networks.model(i, self._z(i + 1), self.labels)
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise RunError(f"the model's distribution of z_{i} is not finite or has no width: nothing can be coded")
        return self.lattice.model(i, mean, std)

    def _log_probabilities(self) -> Iterator[np.ndarray]:
        """For each image log p(pixel | z_0), [H · W · C, V] (diffusion/decoder.py)."""
        from scipy.special import log_softmax  # a sixth of a second that training does not need

        levels = self.networks.spec.levels
        position = 0.5 * levels * (self._z(0) / self.lattice.alpha[0] + 1.0) - 0.5
        scale = 0.5 * levels * np.reshape(self.lattice.sigma[0] / self.lattice.alpha[0], (-1, 1))
        for image in position.reshape(len(position), -1, 1):
            yield log_softmax(-0.5 * np.square((image - np.arange(levels)) / scale), axis=1)

    def _z(self, i: int) -> np.ndarray:
        return self.points[i] * self.lattice.unit[i]

    def _x_t(self, i: int) -> np.ndarray:
        """x_t at γ_i; with bit_swap the encoder does not drift, so x_t is the same for all i."""
        i = i if self.order == ANCESTRAL_ORDER else 0
        if i not in self.encoded:
            self.encoded[i] = self.networks.encode(i, self.pixels, self.labels)
        return self.encoded[i]

    def _each(self, operation: Callable[..., Any], *arrays: np.ndarray) -> Any:
        """The results [n, H, W, C] of applying an operation to each stack and its rows of the arrays."""
        rows = zip(*(array.reshape(len(array), -1) for array in arrays), strict=True)
        results = [operation(stack, *row) for stack, row in zip(self.stacks, rows, strict=True)]
        return None if results[0] is None else np.stack(results).reshape(arrays[0].shape)


def make_coder(networks: CodingNetworks, choices: Coding) -> Callable[..., Coder]:
    """(stacks, seeds, labels) -> the coder of a batch; raises InputError if the choices do not suit the steps."""
    return partial(Coder, networks, Lattice(networks.gamma, choices.spacing), choices.order_for(networks.drifts))

"""The lattices on which latents are coded, and the path's and the model's distributions on them.

z_i is a multiple of δ_i, and δ_i is a share of the standard deviation σ_Q of q(z_i | z_{i+1}, x). The code uses the
probabilities of the lattice's cells. Rounding a normal variable to a lattice adds δ²/12 to its variance. The variances
of the path's distributions are therefore reduced by δ²/12, so that latents have the same moments as without a lattice,
up to terms of the order exp(-2 π² σ_Q²/δ²). The model's distributions are not changed, so the probability of a cell
corresponds to a variance σ_P² + δ²/12. If the model is exact, this costs ½ [r - 1 - ln r] nats per dimension and step
with r = 1 / (1 + δ²/12σ²), about (δ/σ)⁴/576. If the model is far from exact, a wider distribution costs less.
"""

import math
from typing import NamedTuple

import numpy as np

from diffenc_jax.core.errors import require

# Largest |z| that a lattice must reach, and limit of the numbers of its points, so that their distances have 32 bits.
SPAN, LARGEST = 16.0, 2.0**30
# Smallest variance of a distribution that is rounded to integers.
SMALLEST_VARIANCE = 1e-2


class Gaussians(NamedTuple):
    """Normal distributions of z_i in units of δ_i, float64 [n, H, W, C] each."""

    mean: np.ndarray
    std: np.ndarray

    def rounded(self) -> "Gaussians":
        """Distributions whose values have these moments after rounding to integers."""
        return self._replace(std=np.sqrt(np.maximum(np.square(self.std) - 1 / 12, SMALLEST_VARIANCE)))

    def entropy(self) -> np.ndarray:
        """Entropy in bits [n] of integers from these distributions."""
        return np.log2(math.sqrt(2 * math.pi * math.e) * self.std).sum(axis=(1, 2, 3))

    def divergence(self, other: "Gaussians") -> np.ndarray:
        """KL(self ‖ other), nats by dimension."""
        ratio = np.square(self.std / other.std)
        return 0.5 * (ratio - 1.0 - np.log(ratio) + np.square((self.mean - other.mean) / other.std))


class Lattice:
    """The lattices of the latents of a model of depth T, float64.

    Attributes:
      alpha, sigma: [T + 1, ...] α and σ at γ_0 (data), .., γ_T (noise).
      c: [T, ...] 1 - e^(γ_s - γ_t) of the steps.
      unit: [T + 1, ...] δ_i.
    """

    def __init__(self, gamma: np.ndarray, spacing: float):
        """Raises InputError if a lattice has too many points.

        Args:
          gamma: [T + 1] increasing, or [T + 1, H, W, C] for each dimension.
          spacing: δ_i / σ_Q; for z_T, δ_T / σ_1.
        """
        gamma = np.asarray(gamma, np.float64)
        self.alpha, self.sigma = (1.0 / np.sqrt(1.0 + np.exp(sign * gamma)) for sign in (1.0, -1.0))
        self.c = -np.expm1(-np.diff(gamma, axis=0))
        self.unit = spacing * self.sigma * np.sqrt(np.concatenate([self.c, np.ones_like(gamma[:1])]))
        least = f"{1.1 * SPAN / self.unit.min() / LARGEST * spacing:.2g}"
        require(
            SPAN / self.unit.min() <= LARGEST,
            f"spacing={spacing:g} makes lattices of more than 2^31 points at this depth; take {least} or more",
        )

    @property
    def depth(self) -> int:
        """T."""
        return len(self.c)

    def direct(self, i: int, x_t: np.ndarray) -> Gaussians:
        """q(z_i | x)."""
        return self._gaussians(i, self.alpha[i] * x_t, self.sigma[i])

    def backward(self, i: int, z_t: np.ndarray, x_s: np.ndarray, x_t: np.ndarray) -> Gaussians:
        """q(z_i | z_{i+1}, x) with z_{i+1} = z_t (diffusion/steps.py)."""
        kept = 1.0 - self.c[i]
        mean = self.alpha[i] / self.alpha[i + 1] * kept * z_t + self.alpha[i] * (x_s - kept * x_t)
        return self._gaussians(i, mean, self.sigma[i] * np.sqrt(self.c[i]))

    def forward(self, i: int, z_s: np.ndarray) -> Gaussians:
        """q(z_i | z_{i-1}) with z_{i-1} = z_s, for an encoder that does not drift."""
        mean = self.alpha[i] / self.alpha[i - 1] * z_s
        return self._gaussians(i, mean, self.sigma[i] * np.sqrt(self.c[i - 1]))

    def model(self, i: int, mean: np.ndarray, std: np.ndarray) -> Gaussians:
        """The model's distribution of z_i; means beyond the end of the lattice are moved to its end."""
        return Gaussians(np.clip(mean / self.unit[i], -LARGEST, LARGEST), std / self.unit[i])

    def _gaussians(self, i: int, mean: np.ndarray, std: np.ndarray) -> Gaussians:
        return Gaussians(mean / self.unit[i], np.broadcast_to(std / self.unit[i], mean.shape))

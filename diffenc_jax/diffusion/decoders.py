"""Decoders p(data | z_0): their likelihood, mode and draws (arXiv 2107.00630, section 3)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from diffenc_jax.diffusion.arrays import Data, Images, PerExample, Pixels, Scalar
from diffenc_jax.diffusion.dequantisation import DEQUANTISATIONS, Dequantised
from diffenc_jax.diffusion.encoders import Encoded
from diffenc_jax.diffusion.gaussian import alpha, sum_dims
from diffenc_jax.diffusion.standard import UNCHANGED, Standard

PUBLISHED_GAMMA_MIN = -13.3
# The bins outside the window sum to exp(-(6.5² - 0.5²) / (2 · 0.75²)) = 6e-17, below rounding even in float64.
WINDOW = 6
WINDOW_MAX_SCALE = 0.75


class Decoder:
    """Base class of decoders, which say what data are, and how probable they are given z_0.

    Decoders are frozen dataclasses. Their fields that are made by `core.keys.key` are keys of a configuration. Decoders
    of whole numbers also have the field `pixel_levels`, and decoders of real numbers the field `standard`. In methods,
    u = z_0 / α_0 [B, ...] stands for z_0.

    Attributes:
      takes_reals: whether data are real numbers rather than whole numbers.
    """

    takes_reals: ClassVar[bool]

    standard: Standard

    @property
    def gamma_min(self) -> float:
        """γ_0 of schedules that set none."""
        raise NotImplementedError

    @property
    def bin_width(self) -> float:
        """Unit of the periods of Fourier features, in units of x."""
        raise NotImplementedError

    def values(self, data: Data) -> Images:
        """x, the real numbers that the encoder takes, of data [B, ...]."""
        raise NotImplementedError

    def log_likelihood(self, u: Images, data: Data, gamma_0: Scalar) -> PerExample:
        """log p(data | z_0), nats per example [B]."""
        raise NotImplementedError

    def reconstruction(self, start: Encoded, data: Data, gamma_0: Scalar, eps: Images) -> PerExample:
        """-log p(data | z_0), nats per example [B], of z_0 = α_0 x_0 + σ_0 e^ρ ε with the encoding `start`.

        A decoder that knows the mean over ε returns the mean.
        """
        return -self.log_likelihood(start.x_t + jnp.exp(0.5 * gamma_0) * start.noise(eps), data, gamma_0)

    def mode(self, u: Images) -> Data:
        """The most probable data."""
        raise NotImplementedError

    def draw(self, u: Images, gamma_0: Scalar, share: Images) -> Data:
        """Data drawn from p(data | z_0) by inversion of its distribution function, with share ~ U[0, 1)."""
        raise NotImplementedError

    def on_flow(self, data: Data, gamma_0: Scalar, dequantisation: str, share: Images) -> Dequantised:
        """The point z_0 of a flow's path that stands for data, and what the change of variables costs.

        Args:
          dequantisation: name of the distribution of real numbers within a bin, for whole numbers.
          share: draw from U(0, 1) [B, ...], for whole numbers.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Levels(Decoder):
    """Whole numbers k in {0 .. V-1}: p(k | z_0) = softmax_k(-½ (u - x^(k))² e^(-γ_0)), with bins of [-1, 1].

    Attributes:
      pixel_levels: number V of values.
    """

    pixel_levels: int

    takes_reals: ClassVar[bool] = False

    @property
    def gamma_min(self) -> float:
        """The γ_0 that keeps σ_0 at the published 0.166 of a bin: -13.3 + 2 ln(256 / V)."""
        return PUBLISHED_GAMMA_MIN + 2.0 * math.log(256 / self.pixel_levels)

    @property
    def bin_width(self) -> float:
        return 2.0 / self.pixel_levels

    def values(self, data: Pixels) -> Images:
        """The centre 2 (k + ½) / V - 1 of the bin of k."""
        return (2.0 * data.astype(jnp.float32) + 1.0) / self.pixel_levels - 1.0

    def log_likelihood(self, u: Images, data: Pixels, gamma_0: Scalar) -> PerExample:
        return sum_dims(self.log_probabilities(u, data, gamma_0))

    def log_probabilities(self, u: Images, data: Pixels, gamma_0: Scalar) -> Images:
        """log p(k | z_0) of each whole number, [B, ...].

        The normaliser is summed over the 13 bins around u while the standard deviation e^(γ_0/2) is at most 0.75 of a
        bin, which is exact to rounding, and over all V bins otherwise.
        """
        position, scale = self.in_bins(u), self._scale(gamma_0)
        full = jax.checkpoint(lambda: self._log_normaliser_full(position, scale))
        window = lambda: self._log_normaliser_window(position, scale)  # noqa: E731
        return _logit(position, data, scale) - jax.lax.cond(scale <= WINDOW_MAX_SCALE, window, full)

    def mode(self, u: Images) -> Pixels:
        return self._nearest(self.in_bins(u)).astype(jnp.uint8)

    def draw(self, u: Images, gamma_0: Scalar, share: Images) -> Pixels:
        """The smallest k with Σ_{j <= k} p(j) > share.

        Two loops add the V bins up, so that nothing larger than the image is stored.
        """
        position, scale = self.in_bins(u), self._scale(gamma_0)
        highest = _logit(position, self._nearest(position), scale)
        # Shares are multiples of 2^-23, and 0 would pick a bin however improbable.
        share = jnp.maximum(share, 2.0**-24)

        def weight(k):
            return jnp.exp(_logit(position, k, scale) - highest)

        total = jax.lax.fori_loop(0, self.pixel_levels, lambda k, total: total + weight(k), jnp.zeros_like(u))

        def count(k, sums):
            so_far, below = sums
            so_far += weight(k)
            return so_far, below + (so_far <= share * total)

        sums = jnp.zeros_like(u), jnp.zeros(u.shape, jnp.int32)
        _, below = jax.lax.fori_loop(0, self.pixel_levels, count, sums)
        return jnp.minimum(below, self.pixel_levels - 1).astype(jnp.uint8)

    def on_flow(self, data: Pixels, gamma_0: Scalar, dequantisation: str, share: Images) -> Dequantised:
        return DEQUANTISATIONS[dequantisation](self.values(data), self.pixel_levels, gamma_0, share)

    def in_bins(self, u: Images) -> Images:
        """u in units of bins: the centre of the bin of k is at k."""
        return 0.5 * self.pixel_levels * (u + 1.0) - 0.5

    def _nearest(self, position: Images) -> Images:
        """The bin nearest to a position in units of bins."""
        return jnp.clip(jnp.round(position), 0, self.pixel_levels - 1)

    def _scale(self, gamma_0: Scalar) -> Scalar:
        """σ_0 / α_0 = e^(γ_0/2) in bins."""
        return 0.5 * self.pixel_levels * jnp.exp(0.5 * gamma_0)

    def _log_normaliser_window(self, position: Images, scale: Scalar) -> Images:
        """log Σ_k exp(logit_k) over the bins within `WINDOW` of the nearest one.

        It is a sum of shifted elementwise terms, which compilers fuse: nothing larger than the image is stored.
        """
        nearest = self._nearest(position)
        highest = _logit(position, nearest, scale)
        total = jnp.zeros_like(position)
        for offset in range(-WINDOW, WINDOW + 1):
            k = nearest + offset
            inside = (k >= 0) & (k <= self.pixel_levels - 1)
            total += jnp.where(inside, jnp.exp(_logit(position, k, scale) - highest), 0.0)
        return highest + jnp.log(total)

    def _log_normaliser_full(self, position: Images, scale: Scalar) -> Images:
        k: Int[Array, " v"] = jnp.arange(self.pixel_levels)
        return jax.nn.logsumexp(_logit(position[..., None], k, scale), axis=-1)


@dataclass(frozen=True)
class Gaussian(Decoder):
    """Real numbers y with the standardised values x = (y - mean) / deviation: p(x | z_0) = N(x; u, e^γ_0 I).

    This is the published decoder for infinitely many narrow bins. The density of y is that of x divided by the
    deviations, so that all likelihoods are in units of the data. Methods take and return x.

    The model of the bound is a density that is smoothed by the noise of γ_0. The flow's density at γ_0, mapped back by
    1/α_0, is another one.

    Attributes:
      standard: mean and deviation.
    """

    standard: Standard = UNCHANGED

    takes_reals: ClassVar[bool] = True

    @property
    def gamma_min(self) -> float:
        """The published γ_0: noise of 0.0013 deviations.

        The bound lies above the entropy by ½ ln(1 + e^γ_0 / λ) nats per direction in which Gaussian data have the
        variance λ: by 1e-4 for λ = 0.01. Smaller γ_0 are beyond the accuracy of networks in float32.
        """
        return PUBLISHED_GAMMA_MIN

    @property
    def bin_width(self) -> float:
        """One standard deviation."""
        return 1.0

    def values(self, data: Images) -> Images:
        return data

    def log_likelihood(self, u: Images, data: Images, gamma_0: Scalar) -> PerExample:
        return -0.5 * sum_dims(jnp.square(data - u) * jnp.exp(-gamma_0)) - self._log_width(data, gamma_0)

    def reconstruction(self, start: Encoded, data: Images, gamma_0: Scalar, eps: Images) -> PerExample:
        """The mean over ε: ½ Σ [(x - x_0)² e^(-γ_0) + e^(2 ρ) + ln 2π + γ_0], in units of the data.

        With x_0 = x and ρ = 0 it is ½ d (1 + ln 2π + γ_0) plus the sum of ln deviation.
        """
        noise = jnp.ones_like(data) if start.log_std is None else jnp.exp(2.0 * start.log_std)
        squares = jnp.square(data - start.x_t) * jnp.exp(-gamma_0) + noise
        return 0.5 * sum_dims(squares) + self._log_width(data, gamma_0)

    def mode(self, u: Images) -> Images:
        return u

    def draw(self, u: Images, gamma_0: Scalar, share: Images) -> Images:
        # Shares are multiples of 2^-23, and 0 would give an infinite number.
        return u + jnp.exp(0.5 * gamma_0) * jax.scipy.special.ndtri(jnp.maximum(share, 2.0**-24))

    def on_flow(self, data: Images, gamma_0: Scalar, dequantisation: str, share: Images) -> Dequantised:
        """z_0 = α_0 x: -log p(y) = -log p(z_0) - d ln α_0 + Σ ln deviation, without noise."""
        nats = self.standard.log_volume(data[0].size) - 0.5 * data[0].size * jax.nn.log_sigmoid(-gamma_0)
        return Dequantised(alpha(gamma_0) * data, nats, jnp.broadcast_to(nats, len(data)))

    def _log_width(self, data, gamma_0):
        """½ d (ln 2π + γ_0) + Σ ln deviation."""
        return 0.5 * data[0].size * (math.log(2.0 * math.pi) + gamma_0) + self.standard.log_volume(data[0].size)


def _logit(position, k, scale):
    return -0.5 * jnp.square((position - k) / scale)

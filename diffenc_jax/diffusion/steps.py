"""Points of the path from data to noise: instants at infinite depth, steps at finite depth (arXiv 2310.19789).

From t to s < t the path and the model are, with c = 1 - e^(γ_s - γ_t),

  q(z_s | z_t, x) = N(μ_Q, σ_Q² I),  μ_Q = (α_s/α_t) e^(γ_s - γ_t) z_t + α_s (x_s - e^(γ_s - γ_t) x_t),  σ_Q² = σ_s² c,
  p(z_s | z_t)    = N(μ_P, σ_P² I),  σ_P² = σ_Q² / w.

The model's mean μ_P follows from the encoding that it assumes of the image (reverse.py). The variance ratio w is a free
weight (ratios.py). Below, f is the assumed `correction`, such as k x̂.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffenc_jax.diffusion.arrays import AnyShape, Gammas, Images, Index, PerExample, Scalar
from diffenc_jax.diffusion.encoders import Encoder, Encoding
from diffenc_jax.diffusion.gaussian import Estimate, align, alpha, sum_dims
from diffenc_jax.diffusion.ratios import RATIOS, Ratio, cost

# (γ_s, γ_t) -> the factor k of a drift over the step.
DriftFactor = Callable[[AnyShape, AnyShape], AnyShape]
# γ [B] -> the γ_i [B, ...] of each dimension.
Warp = Callable[[PerExample], Gammas]
# (array of a batch, arrays at the data end and at the noise end of some images) -> the three joined.
Join = Callable[[Array, Array, Array], Array]

SHORTEST = 1e-5  # length in γ of a step of one dimension; float32 resolves 2e-6 at the limits of γ


class Errors(NamedTuple):
    """The two errors of a model at a point of the path, [B, ...] each; the diffusion loss depends on their sum.

    Attributes:
      velocity: v_t - v̂.
      drift: σ_t (drift + f), the part of the encoder's drift that the generative mean misses.
      estimate: the estimate that has these errors.
    """

    velocity: Images
    drift: Images
    estimate: Estimate


class Instant(NamedTuple):
    """A point of the path at infinite depth: γ_t and γ'(t), [B], or [B, ...] if each dimension has its own."""

    gamma_t: Gammas
    dgamma: Gammas

    def encode(self, encoder: Encoder, x: Images) -> Encoding:
        """x_t and the slope."""
        return encoder.mean_and_slope(x, self.gamma_t)

    def slope(self, encoder: Encoder, x: Images, encoding: Encoding) -> Images:
        """(dx_t/dγ) / σ_t², from what `encode` returned."""
        return encoding.drift

    def drift_factor(self, factor: DriftFactor) -> float:
        """The factor in the limit of short steps."""
        return 1.0

    def relative(self, encoder: Encoder, error: Images) -> Images:
        """The error itself: `Encoder.variance_share` tends to 1 for short steps."""
        return error

    def loss(self, errors: Errors) -> PerExample:
        """The diffusion loss, nats per example [B]; its mean over t ~ U(0, 1) is the bound's diffusion term.

        ½ γ'(t) e^(-γ_t) ‖x_t - dx_t/dγ - (x̂ + σ_t² f)‖². With x_t - x̂ = -σ_t (v_t - v̂) and dx_t/dγ = σ_t² slope it is
        computed as

          ½ γ'(t) α_t² ‖v_t - v̂ + σ_t (slope + f)‖²,

        which divides by nothing small at either end.
        """
        return self._weighted(jnp.square(errors.velocity + errors.drift))

    def control(self, eps: Images) -> PerExample:
        """½ γ'(t) α_t² Σ (α_t² ε² - α_t²), nats per example [B], whose mean over ε is 0: a control variate of the loss.

        Where data have a density, a network cannot know the noise near the data. Nearly all of the loss is then the
        square of α_t ε, and the rest has far less variance.
        """
        return self._weighted(align(jax.nn.sigmoid(-self.gamma_t), eps) * (jnp.square(eps) - 1.0))

    def _weighted(self, squares: Images) -> PerExample:
        weight = 0.5 * self.dgamma * jax.nn.sigmoid(-self.gamma_t)
        return weight * sum_dims(squares) if weight.ndim == 1 else sum_dims(weight * squares)

    def warped(self, warp: Warp) -> "Instant":
        """The point with the γ of each dimension, and its derivative by t."""
        return Instant(*jax.jvp(warp, (self.gamma_t,), (self.dgamma,)))

    def joined(self, join: Join, count: int, gamma_0: Scalar, gamma_1: Scalar) -> "Instant":
        """The points of a batch together with both end points of `count` images."""
        return self._replace(gamma_t=_joined(join, count, self.gamma_t, gamma_0, gamma_1))


class Step(NamedTuple):
    """A point of the path at finite depth: for each example the step from t to s.

    Attributes:
      gamma_s, gamma_t: [B], or [B, ...] if each dimension has its own.
      ratio: the variance ratio, with one row per example.
      depth: [] number of steps, all equally likely to be drawn.
    """

    gamma_s: Gammas
    gamma_t: Gammas
    ratio: Ratio
    depth: Scalar

    def variance(self, encoder: Encoder) -> Gammas:
        """σ_Q² [B], or [B, ...]."""
        variance = jax.nn.sigmoid(self.gamma_s) * -jnp.expm1(self.gamma_s - self.gamma_t)
        return variance * encoder.variance_share(self.gamma_s, self.gamma_t)

    def encode(self, encoder: Encoder, x: Images) -> Encoding:
        """x_t and the quotient."""
        return encoder.mean_and_quotient(x, self.gamma_s, self.gamma_t)

    def slope(self, encoder: Encoder, x: Images, encoding: Encoding) -> Images:
        """(dx_t/dγ) / σ_t², by another call of the encoder."""
        return encoder.mean_and_slope(x, self.gamma_t).drift

    def drift_factor(self, factor: DriftFactor) -> Gammas:
        """The factor of each step."""
        return factor(self.gamma_s, self.gamma_t)

    def relative(self, encoder: Encoder, error: Images) -> Images:
        """An error of the mean, divided by the root of `Encoder.variance_share`."""
        return error / jnp.sqrt(align(encoder.variance_share(self.gamma_s, self.gamma_t), error))

    def deviation(self, errors: Errors) -> Images:
        """(μ_Q - μ_P) / σ_Q at z_t = α_t x_t + σ_t ε, for each dimension.

        (e^(-γ_s/2) / √c) r with r = x_s - e^(γ_s - γ_t) x_t - c (x̂ + σ_t² f). With x_t - x_s = c σ_t² quotient it is
        computed as

          -√(e^(γ_t - γ_s) - 1) α_t (v_t - v̂ + σ_t (quotient + f)),

        whose digits do not cancel, however short the step.
        """
        scale = jnp.sqrt(jnp.expm1(self.gamma_t - self.gamma_s)) * alpha(self.gamma_t)
        return -align(scale, errors.velocity) * (errors.velocity + errors.drift)

    def loss(self, errors: Errors) -> PerExample:
        """The diffusion loss, nats per example [B]; its mean over steps is the bound's diffusion term.

        T times a step's KL(q(z_s | z_t, x) ‖ p(z_s | z_t)) = ½ Σ [w - 1 - ln w + w u] over the dimensions, with
        u = (μ_Q - μ_P)² / σ_Q².
        """
        u = jnp.square(self.deviation(errors))
        return self.depth * sum_dims(cost(jnp.broadcast_to(self.weight(errors.estimate), u.shape), u))

    def weight(self, estimate: Estimate) -> Float[Array, "..."]:
        """w at the z_t of `estimate`, [B, ...] with axes of length 1 where entries share one ratio."""
        return self.ratio(self.gamma_s, self.gamma_t, estimate)

    def warped(self, warp: Warp) -> "Step":
        """The point with the γ of each dimension.

        Where the warp is flat, rounding could put γ_s above γ_t, and the variance of the step below 0. Steps of a
        dimension that are shorter than `SHORTEST` are therefore given this length, which adds up to ½ `SHORTEST` α_t²
        (v_t - v̂)² nats per step and dimension to the loss. A schedule that is flat over 500 of 1,000 steps has all of
        these 500 moved. With errors v_t - v̂ of 1 this adds 2.5e-3 nats per dimension near the data, and less at
        larger γ.
        """
        gamma_t = warp(self.gamma_t)
        return self._replace(gamma_s=jnp.minimum(warp(self.gamma_s), gamma_t - SHORTEST), gamma_t=gamma_t)

    def joined(self, join: Join, count: int, gamma_0: Scalar, gamma_1: Scalar) -> "Step":
        """The points of a batch together with both end points of `count` images, as ends of steps of length 1 in γ."""
        gamma_s = _joined(join, count, self.gamma_s, gamma_0 - 1.0, gamma_1 - 1.0)
        return self._replace(gamma_s=gamma_s, gamma_t=_joined(join, count, self.gamma_t, gamma_0, gamma_1))


PathPoint = Instant | Step


class Steps(NamedTuple):
    """All T steps.

    Attributes:
      gamma: [T + 1] increasing, from γ_0 at the data to γ_1 at the noise.
      ratio: the variance ratio; its row i belongs to the step between γ[i + 1] and γ[i].
    """

    gamma: Float[Array, " n"]
    ratio: Ratio

    @property
    def depth(self) -> int:
        """T."""
        return self.gamma.shape[0] - 1

    def to_arrays(self) -> dict[str, Array]:
        """The arrays by name: 'gamma', and the arrays of the ratio."""
        return {"gamma": self.gamma, **self.ratio._asdict()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Steps":
        """The steps from the arrays of `to_arrays`; other arrays are ignored."""
        kind = next(kind for kind in RATIOS if set(kind._fields) <= arrays.keys())
        return cls(arrays["gamma"], kind(*(arrays[name] for name in kind._fields)))

    def at(self, t: PerExample) -> Step:
        """The steps at times t [B] in [0, 1), where every step takes 1/T of the time."""
        i = jnp.clip(jnp.floor(t * self.depth).astype(jnp.int32), 0, self.depth - 1)
        return self._step(self.gamma[i], self.gamma[i + 1], i)

    def step(self, i: Index, batch_size: int) -> Step:
        """The step between γ[i + 1] and γ[i], for each of `batch_size` examples."""
        gamma_s, gamma_t = (jnp.broadcast_to(self.gamma[j], (batch_size,)) for j in (i, i + 1))
        return self._step(gamma_s, gamma_t, jnp.asarray(i)[None])

    def _step(self, gamma_s: PerExample, gamma_t: PerExample, rows: Int[Array, " r"]) -> Step:
        ratio = jax.tree.map(lambda table: table[rows], self.ratio)
        return Step(gamma_s, gamma_t, ratio, jnp.asarray(self.depth, self.gamma.dtype))


def _joined(join: Join, count: int, gamma: Gammas, gamma_0: Scalar, gamma_1: Scalar) -> Array:
    """γ of a batch, joined with γ at both end points of `count` images."""
    return join(gamma, *(jnp.full((count, *gamma.shape[1:]), end) for end in (gamma_0, gamma_1)))

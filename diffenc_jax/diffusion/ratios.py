"""Variance ratios w = σ_Q² / σ_P² of the steps: the path's variance in a step, divided by the model's.

With u = (μ_Q - μ_P)² / σ_Q² a step costs ½ [w - 1 - ln w + w u] nats per dimension. The generative model knows z_t, so
that every function w(z_t) > 0 gives a bound. The best one is w* = 1 / (1 + E[u | z_t]), where the step costs
½ E ln(1 + E[u | z_t]) on average. If w depends on less than z_t, the best w follows from the mean of u over the rest:
for a ratio per step, over images, noise and pixels (arXiv 2201.06503 has the best variance of a step in closed form);
for a ratio per step and pixel, over images and noise. A network can predict the ratio from z_t (arXiv 2102.09672,
equation 15, between two fixed variances).

A ratio holds rows for all T steps, or, in a `Step`, one row per example. Called with the ends of the step, γ_s and γ_t
[B], and the model's `Estimate` at z_t, it returns w [B, ...], with axes of length 1 where entries share one ratio.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion.arrays import Gammas, Images
from diffenc_jax.diffusion.gaussian import Estimate, align


class Table(NamedTuple):
    """One ratio per step, or one per step and channel, or per step and pixel.

    Attributes:
      ratio: w, [T], or [T, ...] with the images' axes, of length 1 where shared.
    """

    ratio: Float[Array, "t ..."]

    def __call__(self, gamma_s: Gammas, gamma_t: Gammas, estimate: Estimate) -> Float[Array, "..."]:
        return align(self.ratio, estimate.x_hat)


class ByEstimate(NamedTuple):
    """w = 1 / (1 + u(x̂)), with one piecewise linear function u of the pixel's estimate x̂ per step.

    Outside the knots u is constant.

    Attributes:
      knots: [T, K] values of x̂, increasing; the last one may repeat, with its u.
      error: [T, K] u at the knots.
    """

    knots: Float[Array, "t k"]
    error: Float[Array, "t k"]

    def __call__(self, gamma_s: Gammas, gamma_t: Gammas, estimate: Estimate) -> Float[Array, "..."]:
        return best_ratio(interpolate(estimate.x_hat, self.knots, self.error))


class ByErrorHead(NamedTuple):
    """w = 1 / (1 + u) with u = (e^(γ_t - γ_s) - 1) α_t² V, where the network's error head estimates ln V.

    The error of the model at z_t is V whatever the step's length (for an encoder that drifts, in the limit of short
    steps), so one head serves all depths and times. The ratio has no rows. It raises InputError without a head.
    """

    def __call__(self, gamma_s: Gammas, gamma_t: Gammas, estimate: Estimate) -> Float[Array, "..."]:
        if estimate.log_error is None:
            raise InputError("this ratio comes from an error head; `Process.predict` must return a `log_error`")
        scale = jnp.expm1(gamma_t - gamma_s) * jax.nn.sigmoid(-gamma_t)
        return best_ratio(align(scale, estimate.x_hat) * jnp.exp(estimate.log_error))


Ratio = Table | ByEstimate | ByErrorHead
# `Steps.from_arrays` takes the first kind whose arrays are given; `ByErrorHead`, which has none, is the last.
RATIOS: tuple[type[Ratio], ...] = (Table, ByEstimate, ByErrorHead)


def best_ratio(u: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """w* = 1 / (1 + u), at which a step is cheapest (arXiv 2310.19789, section 3.3).

    A step costs ½ [w - 1 - ln w + w u] nats per dimension, with u = E (μ_Q - μ_P)² / σ_Q² (`Step.deviation`); at w = 1
    that is ½ u. The bound holds only for a w that does not depend on the images it is reported on: u is averaged over
    training images, and w* is frozen.
    """
    return 1.0 / (1.0 + u)


def best_cost(u: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """½ ln(1 + u), the cost at w* in nats per dimension."""
    return 0.5 * jnp.log1p(u)


def cost(w: Float[Array, "*d"], u: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """½ [w - 1 - ln w + w u], a step's nats per dimension at the ratio w and the error u."""
    return 0.5 * (w - 1.0 - jnp.log(w) + w * u)


def interpolate(x: Images, knots: Float[Array, "r k"], values: Float[Array, "r k"]) -> Images:
    """The piecewise linear function through (knots, values) at x [B, ...]; constant outside the knots.

    It is a sum of ramps between neighbouring knots, which needs no search: Σ_k slope_k · clip(x - knot_k, 0, width_k).
    It is computed in the widest type of the arguments.

    Args:
      knots: [B, K] or [1, K], not decreasing; of equal knots, the values must be equal too.
    """
    dtype = jnp.result_type(x, knots, values)
    x, knots, values = (jnp.asarray(array, dtype) for array in (x, knots, values))
    widths = jnp.diff(knots, axis=1)
    slopes = jnp.where(widths > 0, jnp.diff(values, axis=1) / jnp.where(widths > 0, widths, 1.0), 0.0)

    def add(total, ramp):
        knot, width, slope = (align(row, x) for row in ramp)
        return total + slope * jnp.clip(x - knot, 0.0, width), None

    start = jnp.broadcast_to(align(values[:, 0], x), x.shape)
    total, _ = jax.lax.scan(add, start, (knots[:, :-1].T, widths.T, slopes.T))
    return jnp.maximum(total, 0.0)

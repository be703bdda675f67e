"""Noise schedules: increasing maps t in [0, 1] -> γ = -log SNR (arXiv 2107.00630, section 3.2).

A schedule is a linen module, so that a learned schedule brings its parameters.
"""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from diffenc_jax.core.keys import Limits, key
from diffenc_jax.diffusion.arrays import AnyShape, Gammas, PerExample
from diffenc_jax.diffusion.codes import Code

# A single step from γ = -25 to γ = 25 may cost e^(3 · 25) nats per dimension; float32 ends at e^88.
GAMMA_LIMITS = Limits("lie in -25 .. 25, the range in which float32 can hold losses", lambda gamma: -25 <= gamma <= 25)


def inverse_softplus(y: float) -> float:
    """x with ln(1 + e^x) = y, to full precision however large or small y is; -inf for y = 0."""
    return y + math.log(-math.expm1(-y)) if y > 0 else -math.inf


class Schedule(nn.Module):
    """Base class of schedules t -> γ(t), arrays of any shape.

    A schedule defines `__call__`, increasing in t, with γ(0) = `gamma_min` and γ(1) = `gamma_max` at initialisation.

    Its fields that are made by `core.keys.key` are keys of a configuration.

    Attributes:
      interior: names of the parameters that do not move the end points. The bound at infinite depth does not depend on
        them, so that they can be trained to reduce the variance of its estimate (section 3.2 and appendix I.2).
      per_dimension: whether it is one of `PerDimension`.
    """

    gamma_min: float = key(
        None,
        "γ at t = 0; the initial value if the schedule learns it.",
        none="a noise of 0.166 of a pixel's bin, -13.3 for 256 pixel levels",
        limits=GAMMA_LIMITS,
    )
    gamma_max: float = key(5.0, "γ at t = 1; the initial value if the schedule learns it.", limits=GAMMA_LIMITS)

    interior: ClassVar[tuple[str, ...]] = ()
    per_dimension: ClassVar[bool] = False


class FixedLinear(Schedule):
    """γ(t) = γ_min + (γ_max - γ_min) t, nothing learned."""

    def __call__(self, t: AnyShape) -> AnyShape:
        return self.gamma_min + (self.gamma_max - self.gamma_min) * t


class LearnedLinear(Schedule):
    """γ(t) = b + |w| t, both learned, from γ_min and γ_max at initialisation.

    Both parameters determine the end points, which are trained on the bound.
    """

    @nn.compact
    def __call__(self, t: AnyShape) -> AnyShape:
        w = self.param("w", nn.initializers.constant(self.gamma_max - self.gamma_min), (), jnp.float32)
        b = self.param("b", nn.initializers.constant(self.gamma_min), (), jnp.float32)
        return b + jnp.abs(w) * t


class FixedPoly10(Schedule):
    """γ(t) = γ_min + (γ_max/2 - γ_min) t + (γ_max/2) t^10, nothing learned: 'poly10' of the code of arXiv 2310.19789.

    It increases for a negative γ_min and a positive γ_max.
    """

    def __call__(self, t: AnyShape) -> AnyShape:
        half = 0.5 * self.gamma_max
        return self.gamma_min + (half - self.gamma_min) * t + half * t**10


class Monotone(Schedule):
    """γ(t) = γ_0 + (γ_1 - γ_0) (h(t) - h(0)) / (h(1) - h(0)), a learned h between learned end points.

    arXiv 2107.00630, appendix H; for h see `MonotoneNetwork`. γ_1 = γ_0 + ln(1 + e^span), with the parameters γ_0
    `gamma_0` [] and `span` [], so that γ increases whatever the parameters are. γ_0 and γ_1 start at γ_min and γ_max.
    For every h, γ(0) equals γ_0 and γ(1) equals γ_1 to the bit, and the gradients of both by the network's parameters
    are zero. (The published code uses h itself, whose end points drift off γ_min and γ_max: google-research/vdm, issue
    11.)
    """

    hidden: int = 1024

    interior: ClassVar[tuple[str, ...]] = ("network",)

    @nn.compact
    def __call__(self, t: AnyShape) -> AnyShape:
        gamma_0 = self.param("gamma_0", nn.initializers.constant(self.gamma_min), (), jnp.float32)
        rise = self.gamma_max - self.gamma_min
        span = self.param("span", nn.initializers.constant(inverse_softplus(rise)), (), jnp.float32)
        below, above = MonotoneNetwork(rise, self.hidden, name="network")(t)
        # Each half is measured from its own end point, which is then exact, and so is its gradient.
        width = jax.nn.softplus(span)
        return jnp.where(t < 0.5, gamma_0 + width * below, (gamma_0 + width) - width * above)


class MonotoneNetwork(nn.Module):
    """The shares (h(t) - h(0)) / (h(1) - h(0)) and (h(1) - h(t)) / (h(1) - h(0)) of a monotone h.

    h(t) = |a| t + (1/n) Σ_j |c_j| (2 sigmoid(u_j(t)) - 1), u_j(t) = |k_j| (2 t - 1) + b_j, with
    parameters a `linear` [], k `kernel` [n], b `bias` [n], c `out` [n]: the network of the code of
    arXiv 2107.00630, initialised as there.

    Since 2 sigmoid(u) - 1 = tanh(u/2), differences of h are sums of

      tanh(p/2) - tanh(q/2) = tanh((p - q)/2) (1 - tanh(p/2) tanh(q/2)),  u_j(t) - u_j(s) = 2 |k_j| (t - s),

    which vanish at t = s for all parameters, and lose no digits near it.
    """

    slope: float
    hidden: int

    @nn.compact
    def __call__(self, t: AnyShape) -> tuple[AnyShape, AnyShape]:
        n = self.hidden
        a = jnp.abs(self.param("linear", nn.initializers.constant(self.slope), (), jnp.float32))
        k = jnp.abs(self.param("kernel", nn.initializers.normal(), (n,), jnp.float32))
        b = self.param("bias", nn.initializers.zeros, (n,), jnp.float32)
        c = jnp.abs(self.param("out", nn.initializers.normal(), (n,), jnp.float32))

        def rise(s, t):
            """h(t) - h(s) for s <= t, of shape [...]."""
            s, t = jnp.asarray(s)[..., None], jnp.asarray(t)[..., None]
            middle = 1.0 - jnp.tanh(0.5 * (k * (2 * t - 1) + b)) * jnp.tanh(0.5 * (k * (2 * s - 1) + b))
            return a * (t - s)[..., 0] + jnp.mean(c * jnp.tanh(k * (t - s)) * middle, axis=-1)

        total = rise(0.0, 1.0)
        return rise(0.0, t) / total, rise(t, 1.0) / total


class PerDimension(FixedLinear):
    """Base class of schedules that give each dimension a noise level γ_i of its own.

    The γ_i are a function of γ, which is linear in t, and may depend on the images' code (codes.py). γ_i is γ itself at
    both ends. A subclass defines `share`.

    Attributes:
      shape: shape of the images.
      code_units: number n of units of a code; 0 without one.
    """

    shape: tuple[int, ...] = ()
    code_units: int = 0

    per_dimension: ClassVar[bool] = True

    def warp(self, gamma: PerExample, code: Code | None = None) -> Gammas:
        """γ_i [B, *shape] at γ [B], for images with this code [B, n]."""
        t = (gamma - self.gamma_min) / (self.gamma_max - self.gamma_min)
        return self(self.share(t.reshape(-1, *(1 for _ in self.shape)), code))

    def share(self, t: Gammas, code: Code | None) -> Gammas:
        """(γ_i - γ_min) / (γ_max - γ_min) [B, *shape] at t [B, 1, ...]: from 0 to 1, increasing, differentiable."""
        raise NotImplementedError


class Polynomial(PerDimension):
    """The share P_i(t) / P_i(1) with P_i'(t) = (a_i t² + b_i t + c_i)², learned: MuLAN (arXiv 2312.13236).

    At initialisation a = b = 0 and c = 1, the fixed linear schedule. With an exact denoiser the bound of every schedule
    between the same end points equals VDM's; such a schedule can change only the network's error. So its
    parameters are trained on the bound.

    With a code, the output of a network with one hidden layer of 4 n units is added to a, b and c, per image.
    """

    @nn.compact
    def share(self, t: Gammas, code: Code | None) -> Gammas:
        start = {"a": nn.initializers.zeros, "b": nn.initializers.zeros, "c": nn.initializers.ones}
        a, b, c = (self.param(name, init, self.shape, jnp.float32) for name, init in start.items())
        if self.code_units:
            hidden = nn.swish(nn.Dense(4 * self.code_units, name="code")(code))
            last = nn.Dense(3 * math.prod(self.shape), kernel_init=nn.initializers.zeros, name="coefficients")
            changes = last(hidden).reshape(-1, 3, *self.shape)
            a, b, c = (value + changes[:, i] for i, value in enumerate((a, b, c)))
        return _integral(a, b, c, t) / _integral(a, b, c, 1.0)


def _integral(a: Array, b: Array, c: Array, t: Array | float) -> Array:
    """∫ (a s² + b s + c)² ds from 0 to t."""
    return t * (c**2 + t * (b * c + t * ((b**2 + 2 * a * c) / 3 + t * (a * b / 2 + t * a**2 / 5))))

"""Encoders x -> x_t = f(x, γ), the depth-dependent mean of q(z_t | x) (arXiv 2310.19789).

The losses need x_t and its drift: at infinite depth the slope (dx_t/dγ) / σ_t², for a step from t to s the quotient
(x_t - x_s) / (c σ_t²) with c = 1 - e^(γ_s - γ_t), which tends to the slope as s -> t.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import require
from diffenc_jax.diffusion.arrays import Gammas, Images
from diffenc_jax.diffusion.gaussian import align

Network = Callable[[Images, Gammas], Images]


class Encoding(NamedTuple):
    """x_t and its drift, (dx_t/dγ) / σ_t² or (x_t - x_s) / (c σ_t²), both [B, ...]."""

    x_t: Images
    drift: Images


class Encoder:
    """Base class of encoders: a subclass defines `mean`, and may replace the rest by forms that keep more digits.

    The default slope divides by σ_t² and the default quotient subtracts two images: in float32 both lose digits near
    the data end and over short steps.

    Attributes:
      drifts: whether x_t depends on γ, so that the generative mean has to follow it.
    """

    drifts: ClassVar[bool] = True

    def mean(self, x: Images, gamma: Gammas) -> Images:
        """x_t [B, ...] of images x [B, ...] at γ [B]."""
        raise NotImplementedError

    def mean_and_slope(self, x: Images, gamma: Gammas) -> Encoding:
        """x_t and (dx_t/dγ) / σ_t²."""
        x_t, derivative = jax.jvp(lambda gamma: self.mean(x, gamma), (gamma,), (jnp.ones_like(gamma),))
        return Encoding(x_t, derivative / align(jax.nn.sigmoid(gamma), x))

    def mean_and_quotient(self, x: Images, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        """x_t and (x_t - x_s) / (c σ_t²)."""
        x_s, x_t = self.mean(x, gamma_s), self.mean(x, gamma_t)
        return Encoding(x_t, (x_t - x_s) / align(quotient_weight(gamma_s, gamma_t), x))

    def slope_estimate(self, x_hat: Images, gamma: Gammas) -> Images | None:
        """E[(dx_t/dγ) / σ_t² | z_t] from x̂ = E[x_t | z_t] at γ [B], or None where x̂ does not determine it."""
        return None

    def image_estimate(self, x_hat: Images, gamma: Gammas) -> Images | None:
        """E[x | z_t] from x̂ = E[x_t | z_t] at γ [B], or None where x̂ does not determine it."""
        return None


@dataclass(frozen=True)
class Identity(Encoder):
    """x_t = x: VDM (arXiv 2107.00630)."""

    drifts: ClassVar[bool] = False

    def mean(self, x: Images, gamma: Gammas) -> Images:
        return x

    def mean_and_slope(self, x: Images, gamma: Gammas) -> Encoding:
        return Encoding(x, jnp.zeros_like(x))

    def mean_and_quotient(self, x: Images, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        return Encoding(x, jnp.zeros_like(x))

    def slope_estimate(self, x_hat: Images, gamma: Gammas) -> Images:
        return jnp.zeros_like(x_hat)

    def image_estimate(self, x_hat: Images, gamma: Gammas) -> Images:
        return x_hat


@dataclass(frozen=True)
class Shrinking(Encoder):
    """x_t = (1 - a σ_t²) x; dx_t/dγ = -a σ_t² α_t² x, and x_t - x_s = -a c σ_t² α_s² x.

    Attributes:
      amount: a, at most 1. x_t is x for 0, α_t² x for 1, and larger than x below 0.
    """

    amount: float

    def __post_init__(self):
        require(self.amount <= 1, f"an encoder's amount={self.amount} must be at most 1: beyond, x_t can vanish")

    def mean(self, x: Images, gamma: Gammas) -> Images:
        return align(self._share(gamma), x) * x

    def mean_and_slope(self, x: Images, gamma: Gammas) -> Encoding:
        return Encoding(self.mean(x, gamma), -align(self.amount * jax.nn.sigmoid(-gamma), x) * x)

    def mean_and_quotient(self, x: Images, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        return Encoding(self.mean(x, gamma_t), -align(self.amount * jax.nn.sigmoid(-gamma_s), x) * x)

    def slope_estimate(self, x_hat: Images, gamma: Gammas) -> Images:
        return -align(self.amount * jax.nn.sigmoid(-gamma) / self._share(gamma), x_hat) * x_hat

    def image_estimate(self, x_hat: Images, gamma: Gammas) -> Images:
        return x_hat / align(self._share(gamma), x_hat)

    def _share(self, gamma: Gammas) -> Gammas:
        """1 - a σ_t², in a form that keeps its digits where a = 1."""
        return (1 - self.amount) + self.amount * jax.nn.sigmoid(-gamma)


@dataclass(frozen=True)
class NonTrainable(Shrinking):
    """x_t = α_t² x (arXiv 2310.19789): `Shrinking` with a = 1."""

    amount: float = 1.0


@dataclass(frozen=True)
class Trainable(Encoder):
    """x_t = α_t² x + σ_t² y with y = tanh(network(x, γ)), so that x_t -> x at the data end for every network.

    dx_t/dγ = σ_t² α_t² (y - x) + σ_t² dy/dγ. One jvp gives y and dy/dγ together, under one dropout mask.
    Over a step, since σ_t² - σ_s² = c σ_t² α_s²,

      x_t - x_s = c σ_t² α_s² (y_t - x) + σ_s² (y_t - y_s).
    """

    network: Network

    def output(self, x: Images, gamma: Gammas) -> Images:
        """y."""
        return jnp.tanh(self.network(x, gamma))

    def output_and_derivative(self, x: Images, gamma: Gammas) -> tuple[Images, Images]:
        """y and dy/dγ."""
        return jax.jvp(lambda gamma: self.output(x, gamma), (gamma,), (jnp.ones_like(gamma),))

    def mean(self, x: Images, gamma: Gammas) -> Images:
        return _mix(x, self.output(x, gamma), gamma)

    def mean_and_slope(self, x: Images, gamma: Gammas) -> Encoding:
        y, dy = self.output_and_derivative(x, gamma)
        alpha2 = align(jax.nn.sigmoid(-gamma), x)
        return Encoding(_mix(x, y, gamma), alpha2 * (y - x) + dy)

    def mean_and_quotient(self, x: Images, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        # Two calls instead of one with twice the batch: both need the same dropout mask, or the quotient is noise.
        y_s, y_t = self.output(x, gamma_s), self.output(x, gamma_t)
        alpha2_s = align(jax.nn.sigmoid(-gamma_s), x)
        weight = jax.nn.sigmoid(gamma_s) / quotient_weight(gamma_s, gamma_t)
        return Encoding(_mix(x, y_t, gamma_t), alpha2_s * (y_t - x) + align(weight, x) * (y_t - y_s))


class Unbounded(Trainable):
    """`Trainable` with y = network(x, γ) itself, so that x_t is linear in x where the network is."""

    def output(self, x: Images, gamma: Gammas) -> Images:
        return self.network(x, gamma)


class Residual(Unbounded):
    """`Unbounded` with y = x + network(x, γ), so that x_t = x + σ_t² network(x, γ): VDM's path at initialisation."""

    def output(self, x: Images, gamma: Gammas) -> Images:
        return x + self.network(x, gamma)


def quotient_weight(gamma_s: Gammas, gamma_t: Gammas) -> Gammas:
    """c σ_t² [B], the denominator of an encoder's quotient."""
    return jax.nn.sigmoid(gamma_t) * -jnp.expm1(gamma_s - gamma_t)


def _mix(x, y, gamma):
    return align(jax.nn.sigmoid(-gamma), x) * x + align(jax.nn.sigmoid(gamma), x) * y

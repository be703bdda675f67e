"""Encoders x -> x_t = f(x, γ), the depth-dependent mean of q(z_t | x) (arXiv 2310.19789).

An encoder gives x_t, and what the losses need of its drift: the slope (dx_t/dγ) / σ_t² at infinite
depth, the quotient (x_t - x_s) / (c σ_t²) with c = 1 - e^(γ_s - γ_t) for a step from t to s, which tends
to the slope. `networks.ENCODERS` lists them, each with its network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffenc_jax.diffusion.gaussian import align

Network = Callable[[Float[Array, "b *d"], Float[Array, " b"]], Float[Array, "b *d"]]


class Encoding(NamedTuple):
    """x_t and its drift, (dx_t/dγ) / σ_t² or (x_t - x_s) / (c σ_t²), both [B, ...]."""

    x_t: Float[Array, "b *d"]
    drift: Float[Array, "b *d"]


@dataclass(frozen=True)
class Identity:
    """x_t = x: VDM."""

    needs_network: ClassVar[bool] = False
    # Whether x_t changes with t, so that the generative mean has to make up for it.
    drifts: ClassVar[bool] = False

    def mean(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Float[Array, "b *d"]:
        return x

    def mean_and_slope(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Encoding:
        return Encoding(x, jnp.zeros_like(x))

    def mean_and_quotient(
        self, x: Float[Array, "b *d"], gamma_s: Float[Array, " b"], gamma_t: Float[Array, " b"]
    ) -> Encoding:
        return Encoding(x, jnp.zeros_like(x))


@dataclass(frozen=True)
class NonTrainable:
    """x_t = α_t² x; dx_t/dγ = -σ_t² α_t² x, and x_t - x_s = -c σ_t² α_s² x."""

    needs_network: ClassVar[bool] = False
    drifts: ClassVar[bool] = True

    def mean(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Float[Array, "b *d"]:
        return align(jax.nn.sigmoid(-gamma), x) * x

    def mean_and_slope(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Encoding:
        x_t = self.mean(x, gamma)
        return Encoding(x_t, -x_t)

    def mean_and_quotient(
        self, x: Float[Array, "b *d"], gamma_s: Float[Array, " b"], gamma_t: Float[Array, " b"]
    ) -> Encoding:
        return Encoding(self.mean(x, gamma_t), -self.mean(x, gamma_s))


@dataclass(frozen=True)
class Trainable:
    """x_t = α_t² x + σ_t² y with y = tanh(network(x, γ)), so x_t -> x at the data end whatever y is.

    dx_t/dγ = σ_t² α_t² (y - x) + σ_t² dy/dγ; one jvp gives y and dy/dγ together, under one
    dropout mask. Over a step, since σ_t² - σ_s² = c σ_t² α_s²,
    x_t - x_s = c σ_t² α_s² (y_t - x) + σ_s² (y_t - y_s).
    """

    network: Network

    needs_network: ClassVar[bool] = True
    drifts: ClassVar[bool] = True

    def output(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Float[Array, "b *d"]:
        """y."""
        return jnp.tanh(self.network(x, gamma))

    def output_and_derivative(
        self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]
    ) -> tuple[Float[Array, "b *d"], Float[Array, "b *d"]]:
        """y and dy/dγ."""
        return jax.jvp(lambda g: self.output(x, g), (gamma,), (jnp.ones_like(gamma),))

    def mean(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Float[Array, "b *d"]:
        return _mix(x, self.output(x, gamma), gamma)

    def mean_and_slope(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Encoding:
        y, dy = self.output_and_derivative(x, gamma)
        alpha2 = align(jax.nn.sigmoid(-gamma), x)
        return Encoding(_mix(x, y, gamma), alpha2 * (y - x) + dy)

    def mean_and_quotient(
        self, x: Float[Array, "b *d"], gamma_s: Float[Array, " b"], gamma_t: Float[Array, " b"]
    ) -> Encoding:
        # Two calls, not one of twice the batch: both must see one dropout mask, or the quotient is noise.
        y_s, y_t = self.output(x, gamma_s), self.output(x, gamma_t)
        alpha2_s = align(jax.nn.sigmoid(-gamma_s), x)
        # σ_s² / (c σ_t²)
        weight = jax.nn.sigmoid(gamma_s) / (jax.nn.sigmoid(gamma_t) * -jnp.expm1(gamma_s - gamma_t))
        return Encoding(_mix(x, y_t, gamma_t), alpha2_s * (y_t - x) + align(weight, x) * (y_t - y_s))


class Unbounded(Trainable):
    """`Trainable` with y = network(x, γ) itself: x_t is linear in x where the network is."""

    def output(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Float[Array, "b *d"]:
        return self.network(x, gamma)


def _mix(x, y, gamma):
    return align(jax.nn.sigmoid(-gamma), x) * x + align(jax.nn.sigmoid(gamma), x) * y


Encoder = Identity | NonTrainable | Trainable

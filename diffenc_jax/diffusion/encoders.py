"""Encoders x -> x_t = f(x, γ), the depth-dependent mean of q(z_t | x) (arXiv 2310.19789).

An encoder gives x_t, and the slope (dx_t/dγ) / σ_t² that the continuous loss needs. Add one
here and in `ENCODERS`, and the contract tests take it up.
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
    """x_t and (dx_t/dγ) / σ_t², both [B, ...]."""

    x_t: Float[Array, "b *d"]
    slope: Float[Array, "b *d"]


@dataclass(frozen=True)
class Identity:
    """x_t = x: VDM."""

    needs_network: ClassVar[bool] = False
    # How much of σ_t² x̂ the generative mean adds to make up for the encoder's drift.
    compensation: ClassVar[float] = 0.0

    def mean(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Float[Array, "b *d"]:
        return x

    def mean_and_slope(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Encoding:
        return Encoding(x, jnp.zeros_like(x))


@dataclass(frozen=True)
class NonTrainable:
    """x_t = α_t² x; dx_t/dγ = -σ_t² α_t² x."""

    needs_network: ClassVar[bool] = False
    compensation: ClassVar[float] = 1.0

    def mean(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Float[Array, "b *d"]:
        return align(jax.nn.sigmoid(-gamma), x) * x

    def mean_and_slope(self, x: Float[Array, "b *d"], gamma: Float[Array, " b"]) -> Encoding:
        x_t = self.mean(x, gamma)
        return Encoding(x_t, -x_t)


@dataclass(frozen=True)
class Trainable:
    """x_t = α_t² x + σ_t² y with y = tanh(network(x, γ)), so x_t -> x at the data end whatever y is.

    dx_t/dγ = σ_t² α_t² (y - x) + σ_t² dy/dγ; one jvp gives y and dy/dγ together, under one
    dropout mask.
    """

    network: Network

    needs_network: ClassVar[bool] = True
    compensation: ClassVar[float] = 1.0

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


def _mix(x, y, gamma):
    return align(jax.nn.sigmoid(-gamma), x) * x + align(jax.nn.sigmoid(gamma), x) * y


Encoder = Identity | NonTrainable | Trainable
ENCODERS = {"identity": Identity, "nontrainable": NonTrainable, "trainable": Trainable}

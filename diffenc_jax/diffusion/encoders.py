"""Encoders x -> x_t = f(x, γ), the depth-dependent mean of q(z_t | x) (arXiv 2310.19789).

The losses need x_t and its drift: at infinite depth the slope (dx_t/dγ) / σ_t², for a step from t to s the quotient
(x_t - x_s) / (c σ_t²) with c = 1 - e^(γ_s - γ_t), which tends to the slope as s -> t.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import held, key
from diffenc_jax.diffusion.arrays import Gammas, Images
from diffenc_jax.diffusion.gaussian import align, sigma

Network = Callable[[Images, Gammas], Images]


class Encoded(NamedTuple):
    """The place of z_t = α_t x_t + σ_t e^ρ ε, [B, ...] each.

    Attributes:
      x_t: the encoded images.
      log_std: ρ; None for an encoder that leaves the noise as it is, ρ = 0.
    """

    x_t: Images
    log_std: Images | None = None

    def noise(self, eps: Images) -> Images:
        """e^ρ ε."""
        return eps if self.log_std is None else jnp.exp(self.log_std) * eps


class Scale(NamedTuple):
    """ρ and the lag ℓ of the noise (affine.py), [B, ...] each."""

    log_std: Images
    lag: Images


class Encoding(NamedTuple):
    """An encoding and how it changes, [B, ...] each.

    Attributes:
      x_t: the encoded images.
      drift: (dx_t/dγ) / σ_t² or (x_t - x_s) / (c σ_t²).
      scale: of the noise; None for an encoder that leaves the noise as it is.
    """

    x_t: Images
    drift: Images
    scale: Scale | None = None

    @property
    def encoded(self) -> Encoded:
        """The encoding without its changes."""
        return Encoded(self.x_t, None if self.scale is None else self.scale.log_std)


class Assumed(NamedTuple):
    """The encoding that the generative model assumes of the image behind z_t.

    Attributes:
      encoding: x̂_t and its drift, [B, ...] each.
      offset: (x̂_t - x̂) / σ_t² [B, ...]; None where x̂_t is x̂.
    """

    encoding: Encoding
    offset: Images | None = None

    @property
    def correction(self) -> Images:
        """offset - drift [B, ...], which σ_t times the encoder's drift is compared with: for `Extrapolated`, k x̂."""
        return -self.encoding.drift if self.offset is None else self.offset - self.encoding.drift


class Encoder:
    """Base class of encoders: a subclass defines `mean`, and may replace the rest by forms that keep more digits.

    The default slope divides by σ_t² and the default quotient subtracts two images: in float32 both lose digits near
    the data end and over short steps.

    Encoders are frozen dataclasses. Fields that are made by `core.keys.key` are keys of a configuration. An encoder
    with a network has it in its last field, `network`.

    Attributes:
      drifts: whether x_t depends on γ, so that the generative mean has to follow it.
      scales_noise: whether it scales the noise of z_t by e^ρ; see affine.py.
      has_slope: whether x̂ = E[x_t | z_t] determines an estimate of the slope; it then defines `slope_estimate`.
      has_image: whether x̂ determines an estimate of the image x; it then defines `image_estimate`.
      network_kind: name of its network, unless a table or a configuration names another; "" for none.
      outputs: number of images that its network returns, one behind the other along the channels.
    """

    drifts: ClassVar[bool] = True
    scales_noise: ClassVar[bool] = False
    has_slope: ClassVar[bool] = False
    has_image: ClassVar[bool] = False
    network_kind: ClassVar[str] = ""
    outputs: ClassVar[int] = 1

    network: Any

    def bound(self, apply: Network) -> "Encoder":
        """The encoder with the function (x [B, ...], γ [B]) -> output in place of its network."""
        return dataclasses.replace(cast(Any, self), network=apply)

    def mean(self, x: Images, gamma: Gammas) -> Images:
        """x_t [B, ...] of images x [B, ...] at γ [B]."""
        raise NotImplementedError

    def encode(self, x: Images, gamma: Gammas) -> Encoded:
        """x_t, and ρ if the encoder scales the noise."""
        return Encoded(self.mean(x, gamma))

    def variance_share(self, gamma_s: Gammas, gamma_t: Gammas) -> Gammas | None:
        """σ_Q² of a step as a share of σ_s² c, for an encoder that scales the noise (affine.py)."""
        return None

    def mean_and_slope(self, x: Images, gamma: Gammas) -> Encoding:
        """x_t and (dx_t/dγ) / σ_t²."""
        x_t, derivative = jax.jvp(lambda gamma: self.mean(x, gamma), (gamma,), (jnp.ones_like(gamma),))
        return Encoding(x_t, derivative / align(jax.nn.sigmoid(gamma), x))

    def mean_and_quotient(self, x: Images, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        """x_t and (x_t - x_s) / (c σ_t²)."""
        return self.between(self.encode(x, gamma_s), self.encode(x, gamma_t), gamma_s, gamma_t)

    def between(self, at_s: Encoded, at_t: Encoded, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        """`mean_and_quotient` of images that are encoded at both ends of the step already."""
        return Encoding(at_t.x_t, (at_t.x_t - at_s.x_t) / align(quotient_weight(gamma_s, gamma_t), at_t.x_t))

    def slope_estimate(self, x_hat: Images, gamma: Gammas) -> Images:
        """E[(dx_t/dγ) / σ_t² | z_t] from x̂ = E[x_t | z_t] at γ [B], where `has_slope`."""
        raise NotImplementedError

    def image_estimate(self, x_hat: Images, gamma: Gammas) -> Images:
        """E[x | z_t] from x̂ = E[x_t | z_t] at γ [B], where `has_image`."""
        raise NotImplementedError

    def missed(self, true: Encoding, assumed: Assumed, velocity: Images, v: Images, gamma_t: Gammas) -> Images:
        """σ_t (drift + f) [B, ...], the part of the drift that the generative mean misses (steps.py).

        Args:
          true: the encoding of the image.
          assumed: that which the model assumes, whose correction is f.
          velocity: v_t - v̂.
          v: v_t.
          gamma_t: γ_t [B], or [B, ...] if each dimension has its own.
        """
        return align(sigma(gamma_t), v) * (true.drift + assumed.correction)


@dataclass(frozen=True)
class Identity(Encoder):
    """x_t = x: VDM (arXiv 2107.00630)."""

    drifts: ClassVar[bool] = False
    has_slope: ClassVar[bool] = True
    has_image: ClassVar[bool] = True

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
    """x_t = (1 - a σ_t²) x; dx_t/dγ = -a σ_t² α_t² x, and x_t - x_s = -a c σ_t² α_s² x."""

    has_slope: ClassVar[bool] = True
    has_image: ClassVar[bool] = True

    amount: float = key(doc="Strength a, at most 1. x_t is x for 0, α_t² x for 1, and larger than x below 0.")

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

    network_kind: ClassVar[str] = "unet"

    network: Network = held()

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
        return Encoding(_mix(x, y_t, gamma_t), offset_quotient(y_t - x, y_t - y_s, gamma_s, gamma_t))


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


def offset_quotient(offset: Images, change: Images, gamma_s: Gammas, gamma_t: Gammas) -> Images:
    """(x_t - x_s) / (c σ_t²) of x_t = x + σ_t² offset, whose offset changes by `change` from s to t.

    x_t - x_s = c σ_t² α_s² offset + σ_s² change, since σ_t² - σ_s² = c σ_t² α_s².
    """
    weight = jax.nn.sigmoid(gamma_s) / quotient_weight(gamma_s, gamma_t)
    return align(jax.nn.sigmoid(-gamma_s), offset) * offset + align(weight, offset) * change


def _mix(x, y, gamma):
    return align(jax.nn.sigmoid(-gamma), x) * x + align(jax.nn.sigmoid(gamma), x) * y

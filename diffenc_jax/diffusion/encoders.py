"""Encoders x -> x_t = f(x, γ), the depth-dependent mean of q(z_t | x) (arXiv 2310.19789).

The losses need x_t and its drift: at infinite depth the slope (dx_t/dγ) / σ_t², for a step from t to s the quotient
(x_t - x_s) / (c σ_t²) with c = 1 - e^(γ_s - γ_t), which tends to the slope as s -> t.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp

from diffenc_jax.core.keys import POSITIVE, Limits, key
from diffenc_jax.diffusion.arrays import Gammas, Images
from diffenc_jax.diffusion.gaussian import align, alpha, sigma

Network = Callable[[Images, Gammas], Images]
# Largest share of the least variance of q(z_s | x) that a step draws anew; at 1 the slope of √(e^(2 ρ_s) - c) could be
# infinite.
MOST = 0.99


class Encoded(NamedTuple):
    """Mean and deviation of z_t = α_t x_t + σ_t e^ρ ε, [B, ...] each.

    Attributes:
      x_t: the encoded images.
      log_std: ρ; None for an encoder that does not scale the noise, ρ = 0.
    """

    x_t: Images
    log_std: Images | None = None

    def noise(self, eps: Images) -> Images:
        """e^ρ ε."""
        return eps if self.log_std is None else jnp.exp(self.log_std) * eps


class Encoding(NamedTuple):
    """An encoding and how it changes, [B, ...] each.

    Attributes:
      x_t: the encoded images.
      drift: (dx_t/dγ) / σ_t² or (x_t - x_s) / (c σ_t²).
      log_std, lag: ρ and the lag ℓ of the noise (`Affine`); None for an encoder that does not scale the noise.
    """

    x_t: Images
    drift: Images
    log_std: Images | None = None
    lag: Images | None = None

    @property
    def encoded(self) -> Encoded:
        """The encoding without drift and lag."""
        return Encoded(self.x_t, self.log_std)


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
        """offset - drift [B, ...], the term f of the loss (steps.py); k x̂ for `Extrapolated`."""
        return -self.encoding.drift if self.offset is None else self.offset - self.encoding.drift


class Encoder:
    """Base class of encoders: a subclass defines `mean`, and may replace the rest by forms that keep more digits.

    The default slope divides by σ_t² and the default quotient subtracts two images: in float32 both lose digits near
    the data end and over short steps.

    Encoders are frozen dataclasses. Fields that are made by `core.keys.key` are keys of a configuration. An encoder
    with a network has it in its last field, `network`.

    Attributes:
      drifts: whether x_t depends on γ, so that the generative mean has to follow it.
      scales_noise: whether it scales the noise of z_t by e^ρ; see `Affine`.
      has_slope: whether x̂ = E[x_t | z_t] determines an estimate of the slope; it then defines `slope_estimate`.
      network_kind: name of its network, unless a table or a configuration names another; "" for none.
      outputs: number of images that its network returns, concatenated along the channels.
    """

    drifts: ClassVar[bool] = True
    scales_noise: ClassVar[bool] = False
    has_slope: ClassVar[bool] = False
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

    def variance_share(self, gamma_s: Gammas, gamma_t: Gammas) -> Gammas:
        """σ_Q² of a step as a share of σ_s² c: 1, unless the encoder scales the noise (`Affine`)."""
        return jnp.ones_like(gamma_s)

    def mean_and_slope(self, x: Images, gamma: Gammas) -> Encoding:
        """x_t and (dx_t/dγ) / σ_t²."""
        x_t, derivative = jax.jvp(lambda gamma: self.mean(x, gamma), (gamma,), (jnp.ones_like(gamma),))
        return Encoding(x_t, derivative / align(jax.nn.sigmoid(gamma), x))

    def mean_and_quotient(self, x: Images, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        """x_t and (x_t - x_s) / (c σ_t²)."""
        return self.between(self.encode(x, gamma_s), self.encode(x, gamma_t), gamma_s, gamma_t)

    def between(self, at_s: Encoded, at_t: Encoded, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        """`mean_and_quotient` from the encodings at both ends of the step."""
        return Encoding(at_t.x_t, (at_t.x_t - at_s.x_t) / align(quotient_weight(gamma_s, gamma_t), at_t.x_t))

    def slope_estimate(self, x_hat: Images, gamma: Gammas) -> Images:
        """E[(dx_t/dγ) / σ_t² | z_t] from x̂ = E[x_t | z_t] at γ [B], where `has_slope`."""
        raise NotImplementedError

    def image_estimate(self, x_hat: Images, gamma: Gammas) -> Images | None:
        """E[x | z_t] from x̂ = E[x_t | z_t] at γ [B]; None if x̂ does not determine it."""
        return None

    def drift_error(self, true: Encoding, assumed: Assumed, velocity: Images, v: Images, gamma_t: Gammas) -> Images:
        """σ_t (drift + f) [B, ...], the part of the drift that the generative mean misses (steps.py).

        Args:
          true: the encoding of the image.
          assumed: the encoding that the model assumes, with the correction f.
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

    amount: float = key(
        doc="Strength a, at most 1. x_t is x for 0, α_t² x for 1, and larger than x below 0.",
        limits=Limits("be at most 1, beyond which x_t can vanish", lambda amount: amount <= 1),
    )

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
        return Encoding(_mix(x, y_t, gamma_t), offset_quotient(y_t - x, y_t - y_s, gamma_s, gamma_t))


class Unbounded(Trainable):
    """`Trainable` with y = network(x, γ) itself, so that x_t is linear in x where the network is."""

    def output(self, x: Images, gamma: Gammas) -> Images:
        return self.network(x, gamma)


class Residual(Unbounded):
    """`Unbounded` with y = x + network(x, γ), so that x_t = x + σ_t² network(x, γ): VDM's path at initialisation."""

    def output(self, x: Images, gamma: Gammas) -> Images:
        return x + self.network(x, gamma)


@dataclass(frozen=True)
class Affine(Encoder):
    """x_t = x + σ_t² m and ρ = reach · tanh(r), where m and r are the halves of the network's output [B, .., 2 C].

    It scales the noise as well as the mean: z_t = α_t x_t + σ_t e^ρ ε, with ρ a function of x and γ.

    With α_t and σ_t of the schedule, this is the affine Gaussian forward process of arXiv 2404.12940. The reverse
    processes of the path and of the model have the same noise, which must not depend on x. It is the noise of VDM, with
    the variance σ_t² per unit of γ, and σ_s² c over a step (steps.py). By that paper, an image's reverse drift is

      b = dμ/dγ + (dσ/dγ / σ + σ_t² / (2 σ²)) (z - μ),  μ = α_t x_t,  σ = σ_t e^ρ,

    and the loss is ½ ∫ E‖b - b̂‖² / σ_t² dγ, where b̂ is the same function of x̂. Over a step

      q(z_s | z_t, x) = N(α_s x_s + σ_s √(e^(2 ρ_s) - c) ε, σ_s² c),  ε = (z_t - α_t x_t) / (σ_t e^ρ_t),

    which has the marginals above as long as c <= e^(2 ρ_s) in every dimension. In longer steps the variance is
    σ_s² min(c, 0.99 e^(-2 reach)), where |ρ| <= `reach`. If the variance depended on x, such as c times the variance of
    q(z_s | x), every step would cost its mismatch with the model's variance, however short the step, and the bound
    would grow with the depth.

    Both differences can be written with the lag ℓ of the noise, which is 0 where ρ is 0,

      ℓ = ½ - dρ/dγ - ½ e^(-2 ρ) at an instant,   ℓ = (λ - 1) / (e^(γ_t - γ_s) - 1) over a step,
      λ = √(e^(2 ρ_s) - c) e^(½ (γ_t - γ_s) - ρ_t),

    as the error that takes the place of v_t - v̂ + σ_t (drift + f): with n = e^ρ ε and the assumed encoding of x̂, whose
    offset is (x̂_t - x̂) / σ_t²,

      (1 - ℓ̂) (v_t - v̂ + σ_t offset) + σ_t (drift - assumed drift) + (ℓ̂ - ℓ) n / α_t.
    """

    scales_noise: ClassVar[bool] = True
    network_kind: ClassVar[str] = "unet"
    outputs: ClassVar[int] = 2

    reach: float = key(doc="Largest |ρ|.", limits=POSITIVE)
    network: Network  # type: ignore[misc]  # mypy takes the key above for a default

    def encode(self, x: Images, gamma: Gammas) -> Encoded:
        offset, log_std = self._parts(x, gamma)
        return Encoded(x + align(jax.nn.sigmoid(gamma), x) * offset, log_std)

    def mean(self, x: Images, gamma: Gammas) -> Images:
        return self.encode(x, gamma).x_t

    def mean_and_slope(self, x: Images, gamma: Gammas) -> Encoding:
        """dx_t/dγ = σ_t² α_t² m + σ_t² dm/dγ."""
        parts, rates = jax.jvp(lambda gamma: self._parts(x, gamma), (gamma,), (jnp.ones_like(gamma),))
        (offset, log_std), (offset_rate, log_std_rate) = parts, rates
        x_t = x + align(jax.nn.sigmoid(gamma), x) * offset
        slope = align(jax.nn.sigmoid(-gamma), x) * offset + offset_rate
        return Encoding(x_t, slope, log_std, -log_std_rate - 0.5 * jnp.expm1(-2.0 * log_std))

    def mean_and_quotient(self, x: Images, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        (offset_s, log_std_s), (offset, log_std) = self._parts(x, gamma_s), self._parts(x, gamma_t)
        drift = offset_quotient(offset, offset - offset_s, gamma_s, gamma_t)
        x_t = x + align(jax.nn.sigmoid(gamma_t), x) * offset
        return Encoding(x_t, drift, log_std, self._lag(log_std_s, log_std, gamma_s, gamma_t))

    def between(self, at_s: Encoded, at_t: Encoded, gamma_s: Gammas, gamma_t: Gammas) -> Encoding:
        log_std_s, log_std_t = (jnp.asarray(at.log_std) for at in (at_s, at_t))
        lag = self._lag(log_std_s, log_std_t, gamma_s, gamma_t)
        return super().between(at_s, at_t, gamma_s, gamma_t)._replace(log_std=log_std_t, lag=lag)

    def variance_share(self, gamma_s: Gammas, gamma_t: Gammas) -> Gammas:
        return jnp.minimum(1.0, MOST * math.exp(-2.0 * self.reach) / -jnp.expm1(gamma_s - gamma_t))

    def drift_error(self, true: Encoding, assumed: Assumed, velocity: Images, v: Images, gamma_t: Gammas) -> Images:
        """The last formula of the class, without v_t - v̂."""
        error = super().drift_error(true, assumed, velocity, v, gamma_t)
        s, a = align(sigma(gamma_t), v), align(alpha(gamma_t), v)
        lag, true_lag = (cast(Images, encoding.lag) for encoding in (assumed.encoding, true))
        error -= lag * (velocity + s * (0.0 if assumed.offset is None else assumed.offset))
        return error + (lag - true_lag) * ((v + s * true.x_t) / a) / a

    def _lag(self, log_std_s: Images, log_std_t: Images, gamma_s: Gammas, gamma_t: Gammas) -> Images:
        """ℓ over a step: (λ² - 1) / (e^(γ_t - γ_s) - 1) / (λ + 1), with λ² - 1 in a form that does not cancel."""
        length, share = align(gamma_t - gamma_s, log_std_t), self.variance_share(gamma_s, gamma_t)
        rise = jnp.expm1(length)
        growth = jnp.expm1(length + 2.0 * (log_std_s - log_std_t)) / rise
        square = growth - align(share, log_std_t) * jnp.exp(-2.0 * log_std_t)
        return square / (jnp.sqrt(1.0 + square * rise) + 1.0)

    def _parts(self, x: Images, gamma: Gammas) -> tuple[Images, Images]:
        """m and ρ."""
        offset, scale = jnp.split(self.network(x, gamma), 2, axis=-1)
        return offset, self.reach * jnp.tanh(scale)


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

"""`Process`: everything the mathematics may know of a model, as one object."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.diffusion.arrays import AnyShape, Condition, Data, Gammas, Images, Index, PerExample, Scalar
from diffenc_jax.diffusion.decoders import Decoder, Levels
from diffenc_jax.diffusion.encoders import Assumed, Encoder, Encoding
from diffenc_jax.diffusion.gaussian import Estimate, Prediction, image_from_velocity
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.reverse import Assumption, linear
from diffenc_jax.diffusion.steps import Errors, Instant, PathPoint, Step, Steps, Warp

BYTES = Levels(256)
AnyPoint = TypeVar("AnyPoint", Instant, Step)


@dataclass(frozen=True)
class Process:
    """The diffusion process and the generative model, as functions that the losses, samplers and flows call.

    A process made from a user's own functions works with all of `diffenc_jax.diffusion`:

      Process(Identity(), lambda z, gamma: Prediction(network(z, gamma)), lambda t: -13.3 + 18.3 * t)

    γ_0 = -13.3 is for 256 levels of a pixel: the noise of z_0 is then 0.166 of a bin. `Decoder.gamma_min` is the γ_0
    for other data.

    Losses take a point that `point`, `step` or `warped` returned.

    Attributes:
      encoder: x -> x_t.
      predict: (z_t [B, ...], γ_t [B]) -> the score network's prediction.
      gamma: t -> γ = -log SNR, increasing on [0, 1], differentiable, of the shape of t.
      assumption: what the generative model assumes of the image behind z_t (reverse.py).
      decoder: p(data | z_0), and x of data.
      condition: condition of each image for encoder and score network, such as its label; None without one. A process
        with a condition serves only the batch of these images.
      warp: γ [B] -> the γ_i [B, ...] of each dimension where each has a noise level of its own: increasing and
        differentiable, and γ itself at both ends. None if all dimensions have γ.
      code_nats: cost of the code that the condition holds, nats per example (codes.py), part of the latent term.
      rebind: condition -> the process with that condition; None for a process that takes none.
      shape: shape of one example; None if any shape will do.
    """

    encoder: Encoder
    predict: Callable[[Images, Gammas], Prediction]
    gamma: Callable[[AnyShape], AnyShape]
    assumption: Assumption = linear
    decoder: Decoder = BYTES
    condition: Condition | None = None
    warp: Warp | None = None
    code_nats: float = 0.0
    rebind: Callable[[Condition], "Process"] | None = None
    shape: tuple[int, ...] | None = None

    def check(self, data: Data) -> None:
        """Raise InputError unless `data` are [B, *shape], and B is the number of conditions if there are conditions.

        Shapes are known when a function is traced, so this works under `jax.jit` and `jax.vmap`.
        """
        given, wanted = np.shape(data), "..." if self.shape is None else ", ".join(map(str, self.shape))
        fits = bool(given) and self.shape in (None, given[1:])
        require(fits, f"x must be [B, {wanted}]; it is {list(given)}")
        count = given[0] if self.condition is None else len(self.condition)
        advice = "bind the process to one condition per example"
        require(count == given[0], f"x has {given[0]} examples, and the process {count} conditions; {advice}")

    def with_condition(self, condition: Condition | None) -> "Process":
        """The process for a batch of this condition; itself for None."""
        if condition is None:
            return self
        if self.rebind is None:
            raise ValueError("this process takes no condition")
        return self.rebind(condition)

    @property
    def endpoints(self) -> tuple[Scalar, Scalar]:
        """γ_0 at the data and γ_1 at the noise, []."""
        return self.gamma(jnp.zeros(())), self.gamma(jnp.ones(()))

    def gammas(self, gamma: PerExample) -> Gammas:
        """The γ of each dimension [B, ...] at γ [B]; γ itself where all dimensions share it."""
        return gamma if self.warp is None else self.warp(gamma)

    def gammas_of(self, gamma: Scalar, count: int) -> Gammas:
        """The γ of each dimension for `count` examples at the same γ."""
        return self.gammas(jnp.broadcast_to(gamma, (count,)))

    def warped(self, point: AnyPoint) -> AnyPoint:
        """The point with the γ of each dimension; the point itself where all dimensions have the same γ."""
        return point if self.warp is None else point.warped(self.warp)

    def instant(self, t: PerExample) -> Instant:
        """The points at times t [B] at infinite depth, with one γ for all dimensions."""
        return Instant(*jax.jvp(self.gamma, (t,), (jnp.ones_like(t),)))

    def point(self, t: PerExample, steps: Steps | None = None) -> PathPoint:
        """The points at times t [B] in [0, 1): steps of `steps`, or instants if it is None."""
        return self.warped(self.instant(t)) if steps is None else self.warped(steps.at(t))

    def step(self, steps: Steps, i: Index, batch_size: int) -> Step:
        """Step i of `steps`, counted from the data, for each of `batch_size` examples."""
        return self.warped(steps.step(i, batch_size))

    def uniform_steps(self, depth: int, ratio: float = 1.0) -> Steps:
        """`depth` steps of equal length in t with one variance ratio."""
        gamma = self.gamma(jnp.asarray(np.arange(depth + 1) / depth))
        return Steps(gamma, Table(jnp.full(depth, ratio, gamma.dtype)))

    def estimate(self, z_t: Images, gamma_t: Gammas) -> Estimate:
        """The model's estimates at z_t, by one call of the score network."""
        prediction = self.predict(z_t, gamma_t)
        return Estimate(image_from_velocity(z_t, prediction.v, gamma_t), *prediction)

    def assumed(self, estimate: Estimate, point: PathPoint) -> Assumed:
        """The encoding that the generative model assumes at `point`, given its estimate there."""
        return self.assumption(estimate.x_hat, point, self.encoder)

    def assumed_at(self, estimate: Estimate, gamma_t: Gammas) -> Assumed:
        """The encoding that the generative model assumes at γ_t and infinite depth."""
        return self.assumed(estimate, Instant(gamma_t, jnp.ones_like(gamma_t)))

    def slope(self, estimate: Estimate, gamma_t: Gammas) -> Images | None:
        """ŝ, an estimate of (dx_t/dγ) / σ_t², by a derivative head or from x̂; None if neither determines it."""
        if estimate.slope is not None:
            return estimate.slope
        return self.assumption.slope(estimate.x_hat, gamma_t, self.encoder)

    def image(self, estimate: Estimate, gamma_t: Gammas) -> Images | None:
        """An estimate of x from x̂; None if x̂ does not determine it."""
        return self.assumption.image(estimate.x_hat, gamma_t, self.encoder)

    def errors(self, point: PathPoint, estimate: Estimate, v: Images, encoding: Encoding) -> Errors:
        """The errors of an estimate at a `point` of the path, where v_t is `v`, for the encoding there."""
        assumed, velocity = self.assumed(estimate, point), v - estimate.v
        drift_error = self.encoder.drift_error(encoding, assumed, velocity, v, point.gamma_t)
        if self.encoder.scales_noise:
            drift_error = point.relative(self.encoder, velocity + drift_error) - velocity
        return Errors(velocity, drift_error, estimate)

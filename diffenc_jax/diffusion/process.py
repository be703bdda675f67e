"""`Process`: everything the mathematics may know of a model, as one object."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.arrays import AnyShape, Condition, Gammas, Images, PerExample, Pixels, Scalar
from diffenc_jax.diffusion.encoders import Encoder, Encoding
from diffenc_jax.diffusion.estimates import Estimate, Prediction
from diffenc_jax.diffusion.gaussian import align, alpha, image_from_velocity, sigma
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.reverse import Assumed, Assumption, linear
from diffenc_jax.diffusion.steps import Errors, Instant, Place, Steps


@dataclass(frozen=True)
class Process:
    """The diffusion process and the generative model, as functions that the losses, samplers and flows call.

    A process made from a user's own functions works with all of `diffenc_jax.diffusion`:

      Process(Identity(), lambda z, gamma: Prediction(network(z, gamma)), lambda t: -13.3 + 18.3 * t)

    Attributes:
      encoder: x -> x_t.
      predict: (z_t [B, ...], γ_t [B]) -> the score network's prediction.
      gamma: t -> γ = -log SNR, increasing on [0, 1], differentiable: of the shape of t, or with the images' axes
        behind if each dimension has its own γ. At t = 0 and t = 1 all dimensions have the same γ.
      assumption: what the generative model assumes of the image behind z_t (reverse.py).
      pixel_levels: number V of values that a pixel can have.
      condition: what encoder and score network are given of each image of a batch, such as its label; None for nothing.
        A process with a condition is for this batch only.
      rebind: condition -> the process with that condition; None for a process that takes none.
    """

    encoder: Encoder
    predict: Callable[[Images, Gammas], Prediction]
    gamma: Callable[[AnyShape], Float[Array, "..."]]
    assumption: Assumption = linear
    pixel_levels: int = 256
    condition: Condition | None = None
    rebind: Callable[[Condition], "Process"] | None = None

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
        gamma_0, gamma_1 = (self.gamma(t).ravel()[0] for t in (jnp.zeros(()), jnp.ones(())))
        return gamma_0, gamma_1

    def instant(self, t: PerExample) -> Instant:
        """The places at times t [B] at infinite depth."""
        return Instant(*jax.jvp(self.gamma, (t,), (jnp.ones_like(t),)))

    def uniform_steps(self, depth: int, ratio: float = 1.0) -> Steps:
        """`depth` steps of equal length in t with one variance ratio."""
        gamma = self.gamma(jnp.asarray(np.arange(depth + 1) / depth))
        return Steps(gamma, Table(jnp.full(depth, ratio, gamma.dtype)))

    def pixel_values(self, pixels: Pixels) -> Images:
        """x, the centres of the pixels' bins in [-1, 1]."""
        return decoder.pixel_values(pixels, self.pixel_levels)

    def estimate(self, z_t: Images, gamma_t: Gammas) -> Estimate:
        """The model's estimates at z_t, by one call of the score network."""
        prediction = self.predict(z_t, gamma_t)
        return Estimate(image_from_velocity(z_t, prediction.v, gamma_t), *prediction)

    def assumed(self, estimate: Estimate, place: Place) -> Assumed:
        """The encoding that the generative model assumes at `place`, given its estimate there."""
        return self.assumption(estimate.x_hat, place, self.encoder)

    def assumed_at(self, estimate: Estimate, gamma_t: Gammas) -> Assumed:
        """The encoding that the generative model assumes at γ_t and infinite depth."""
        return self.assumed(estimate, Instant(gamma_t, jnp.ones_like(gamma_t)))

    def slope(self, estimate: Estimate, gamma_t: Gammas) -> Images | None:
        """ŝ, an estimate of (dx_t/dγ) / σ_t²: that of a derivative head, or the one that x̂ determines, if it does."""
        if estimate.slope is not None:
            return estimate.slope
        return self.assumption.slope(estimate.x_hat, gamma_t, self.encoder)

    def image(self, estimate: Estimate, gamma_t: Gammas) -> Images | None:
        """An estimate of x, if x̂ determines it."""
        return self.assumption.image(estimate.x_hat, gamma_t, self.encoder)

    def predict_image(self, z_t: Images, gamma_t: Gammas) -> Images:
        """x̂, the model's estimate of x_t, or of x (reverse.py)."""
        return self.estimate(z_t, gamma_t).x_hat

    def errors(self, place: Place, estimate: Estimate, v: Images, encoding: Encoding) -> Errors:
        """The errors of an estimate at a `place` on the path, where v_t is `v`, for the encoding there."""
        assumed, s = self.assumed(estimate, place), align(sigma(place.gamma_t), v)
        velocity = v - estimate.v
        missed = s * (encoding.drift + assumed.correction)
        if encoding.scale is not None and assumed.encoding.scale is not None:
            offset = 0.0 if assumed.offset is None else assumed.offset
            lag, noise = assumed.encoding.scale.lag, (v + s * encoding.x_t) / align(alpha(place.gamma_t), v)
            missed -= lag * (velocity + s * offset)
            missed += (lag - encoding.scale.lag) * noise / align(alpha(place.gamma_t), v)
            missed = place.relative(self.encoder, velocity + missed) - velocity
        return Errors(velocity, missed, estimate)

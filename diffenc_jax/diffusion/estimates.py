"""Outputs of a score network at z_t, and estimates that follow from them without the image."""

from typing import NamedTuple

from diffenc_jax.diffusion.arrays import Images


class Prediction(NamedTuple):
    """Output of a score network at z_t, [B, ...] each.

    Attributes:
      v: v̂, an estimate of v_t = α_t ε - σ_t x_t.
      slope: ŝ, an estimate of (dx_t/dγ) / σ_t²; None without a derivative head.
      log_error: ln V, an estimate of the logarithm of E[(v_t - v̂ + σ_t (drift + k x̂))² | z_t], the squared error that
        the diffusion loss weighs (`steps.Errors`); None without an error head.
    """

    v: Images
    slope: Images | None = None
    log_error: Images | None = None


class Estimate(NamedTuple):
    """A prediction at z_t, and the image that it implies, [B, ...] each.

    Attributes:
      x_hat: x̂ = α_t z_t - σ_t v̂, an estimate of x_t.
      v, slope, log_error: those of `Prediction`.
    """

    x_hat: Images
    v: Images
    slope: Images | None = None
    log_error: Images | None = None

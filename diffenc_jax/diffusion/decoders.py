"""The decoder p(pixel | z_0): its likelihood, mode and draws (arXiv 2107.00630, section 3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from diffenc_jax.diffusion.arrays import Images, PerExample, Pixels, Scalar
from diffenc_jax.diffusion.gaussian import sum_dims

# The bins outside the window sum to exp(-(6.5² - 0.5²) / (2 · 0.75²)) = 6e-17, below rounding even in float64.
WINDOW = 6
WINDOW_MAX_SCALE = 0.75


def pixel_values(pixels: Pixels, pixel_levels: int) -> Images:
    """The centre 2 (k + ½) / V - 1 of the bin of pixel k in {0 .. V-1}."""
    return (2.0 * pixels.astype(jnp.float32) + 1.0) / pixel_levels - 1.0


def nearest_pixel(u: Images, pixel_levels: int) -> Pixels:
    """The most probable pixel at u = z_0 / α_0."""
    return jnp.clip(jnp.round(in_bins(u, pixel_levels)), 0, pixel_levels - 1).astype(jnp.uint8)


def draw_pixel(u: Images, gamma_0: Scalar, pixel_levels: int, share: Images) -> Pixels:
    """A pixel from p(pixel | z_0), the softmax of `log_likelihood`, by inversion of its distribution function.

    The smallest k with Σ_{j <= k} p(j) > share, where share ~ U[0, 1). Two loops add the V bins up, so that
    nothing larger than the image is stored.
    """
    position, scale = in_bins(u, pixel_levels), _scale(gamma_0, pixel_levels)
    highest = _logit(position, jnp.clip(jnp.round(position), 0, pixel_levels - 1), scale)
    # Shares are multiples of 2^-23, and 0 would pick a bin however improbable.
    share = jnp.maximum(share, 2.0**-24)

    def weight(k):
        return jnp.exp(_logit(position, k, scale) - highest)

    total = jax.lax.fori_loop(0, pixel_levels, lambda k, total: total + weight(k), jnp.zeros_like(u))

    def count(k, sums):
        so_far, below = sums
        so_far += weight(k)
        return so_far, below + (so_far <= share * total)

    _, below = jax.lax.fori_loop(0, pixel_levels, count, (jnp.zeros_like(u), jnp.zeros(u.shape, jnp.int32)))
    return jnp.minimum(below, pixel_levels - 1).astype(jnp.uint8)


def log_likelihood(u: Images, pixels: Pixels, gamma_0: Scalar, pixel_levels: int) -> PerExample:
    """log p(pixels | z_0), nats per example [B]."""
    return sum_dims(log_probabilities(u, pixels, gamma_0, pixel_levels))


def log_probabilities(u: Images, pixels: Pixels, gamma_0: Scalar, pixel_levels: int) -> Images:
    """log p(pixel | z_0) of each pixel, [B, ...].

    log softmax_k(-½ (u - x^(k))² e^(-γ_0)) at k = pixel, u = z_0 / α_0. The normaliser is summed over the 13 bins
    around u while the standard deviation e^(γ_0/2) is at most 0.75 of a bin, which is exact to rounding, and over all
    V bins otherwise.
    """
    position = in_bins(u, pixel_levels)
    scale = _scale(gamma_0, pixel_levels)
    full = jax.checkpoint(lambda: _log_normaliser_full(position, scale, pixel_levels))
    log_normaliser = jax.lax.cond(
        scale <= WINDOW_MAX_SCALE, lambda: _log_normaliser_window(position, scale, pixel_levels), full
    )
    return _logit(position, pixels, scale) - log_normaliser


def in_bins(u: Images, pixel_levels: int) -> Images:
    """u in units of bins: the centre of the bin of pixel k is at k."""
    return 0.5 * pixel_levels * (u + 1.0) - 0.5


def _scale(gamma_0: Scalar, pixel_levels: int) -> Scalar:
    """σ_0 / α_0 = e^(γ_0/2) in bins."""
    return 0.5 * pixel_levels * jnp.exp(0.5 * gamma_0)


def _logit(position, k, scale):
    return -0.5 * jnp.square((position - k) / scale)


def _log_normaliser_window(position: Images, scale: Scalar, pixel_levels: int) -> Images:
    """log Σ_k exp(logit_k) over the bins within `WINDOW` of the nearest one.

    It is a sum of shifted elementwise terms, which compilers fuse: nothing larger than the image is stored.
    """
    nearest = jnp.clip(jnp.round(position), 0, pixel_levels - 1)
    highest = _logit(position, nearest, scale)
    total = jnp.zeros_like(position)
    for offset in range(-WINDOW, WINDOW + 1):
        k = nearest + offset
        inside = (k >= 0) & (k <= pixel_levels - 1)
        total += jnp.where(inside, jnp.exp(_logit(position, k, scale) - highest), 0.0)
    return highest + jnp.log(total)


def _log_normaliser_full(position: Images, scale: Scalar, pixel_levels: int) -> Images:
    k: Int[Array, " v"] = jnp.arange(pixel_levels)
    return jax.nn.logsumexp(_logit(position[..., None], k, scale), axis=-1)

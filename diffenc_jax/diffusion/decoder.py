"""Between pixels and the real line: p(pixel | z_0), its likelihood, mode and draws (arXiv 2107.00630, section 3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from diffenc_jax.diffusion.gaussian import sum_dims

# exp(-(6.5² - 0.5²) / (2 · 0.75²)) = 6e-17: what lies outside the window is below rounding, even in float64.
WINDOW = 6
WINDOW_MAX_SCALE = 0.75


def pixel_values(pixels: UInt8[Array, "b *d"], levels: int) -> Float[Array, "b *d"]:
    """Pixel k in {0 .. V-1} -> the centre 2 (k + ½) / V - 1 of its bin."""
    return (2.0 * pixels.astype(jnp.float32) + 1.0) / levels - 1.0


def nearest_pixel(u: Float[Array, "b *d"], levels: int) -> UInt8[Array, "b *d"]:
    """The most probable pixel at u = z_0 / α_0."""
    return jnp.clip(jnp.round(in_bins(u, levels)), 0, levels - 1).astype(jnp.uint8)


def draw_pixel(
    u: Float[Array, "b *d"], gamma_0: Float[Array, ""], levels: int, share: Float[Array, "b *d"]
) -> UInt8[Array, "b *d"]:
    """A pixel from p(pixel | z_0), the softmax of `log_likelihood`, by inversion of its distribution function.

    The smallest k with Σ_{j <= k} p(j) > share, where share ~ U[0, 1). The V bins are added up one after the other,
    twice, so that nothing larger than the image is ever stored.
    """
    position, scale = in_bins(u, levels), _scale(gamma_0, levels)
    largest = _logit(position, jnp.clip(jnp.round(position), 0, levels - 1), scale)
    # Shares are multiples of 2^-23, and 0 would pick a bin however improbable.
    share = jnp.maximum(share, 2.0**-24)

    def weight(k):
        return jnp.exp(_logit(position, k, scale) - largest)

    total = jax.lax.fori_loop(0, levels, lambda k, total: total + weight(k), jnp.zeros_like(u))

    def count(k, sums):
        so_far, below = sums
        so_far += weight(k)
        return so_far, below + (so_far <= share * total)

    _, below = jax.lax.fori_loop(0, levels, count, (jnp.zeros_like(u), jnp.zeros(u.shape, jnp.int32)))
    return jnp.minimum(below, levels - 1).astype(jnp.uint8)


def log_likelihood(
    u: Float[Array, "b *d"], pixels: UInt8[Array, "b *d"], gamma_0: Float[Array, ""], levels: int
) -> Float[Array, " b"]:
    """log p(pixels | z_0) in nats an example.

    log softmax_k(-½ (u - x^(k))² e^(-γ_0)) at k = pixel, u = z_0 / α_0. The normaliser is summed
    over the 13 bins about u where that is exact to rounding, i.e. while the standard deviation
    e^(γ_0/2) is at most 0.75 of a bin, and over all V bins otherwise.
    """
    position = in_bins(u, levels)
    scale = _scale(gamma_0, levels)
    full = jax.checkpoint(lambda: _log_normaliser_full(position, scale, levels))
    log_normaliser = jax.lax.cond(
        scale <= WINDOW_MAX_SCALE, lambda: _log_normaliser_window(position, scale, levels), full
    )
    return sum_dims(_logit(position, pixels, scale) - log_normaliser)


def in_bins(u: Float[Array, "b *d"], levels: int) -> Float[Array, "b *d"]:
    """u on the axis on which pixel k stands at k."""
    return 0.5 * levels * (u + 1.0) - 0.5


def _scale(gamma_0: Float[Array, ""], levels: int) -> Float[Array, ""]:
    """σ_0 / α_0 = e^(γ_0/2) in bins."""
    return 0.5 * levels * jnp.exp(0.5 * gamma_0)


def _logit(position, k, scale):
    return -0.5 * jnp.square((position - k) / scale)


def _log_normaliser_window(
    position: Float[Array, "b *d"], scale: Float[Array, ""], levels: int
) -> Float[Array, "b *d"]:
    """log Σ_k exp(logit_k) over the bins within `WINDOW` of the nearest one.

    Written as a sum of shifted elementwise terms, not over an axis of bins: compilers fuse it,
    so that nothing larger than the image is ever stored.
    """
    nearest = jnp.clip(jnp.round(position), 0, levels - 1)
    largest = _logit(position, nearest, scale)
    total = jnp.zeros_like(position)
    for offset in range(-WINDOW, WINDOW + 1):
        k = nearest + offset
        inside = (k >= 0) & (k <= levels - 1)
        total += jnp.where(inside, jnp.exp(_logit(position, k, scale) - largest), 0.0)
    return largest + jnp.log(total)


def _log_normaliser_full(position: Float[Array, "b *d"], scale: Float[Array, ""], levels: int) -> Float[Array, "b *d"]:
    k: Int[Array, " v"] = jnp.arange(levels)
    return jax.nn.logsumexp(_logit(position[..., None], k, scale), axis=-1)

"""The image that a receiver of z_t shows, by encoder; its rates and errors are in tests/lab/studies/rate_distortion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.encoders import Identity, NonTrainable, Shrinking, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.progressive import ends, stage
from tests.diffusion.test_losses import GAMMA_0, process_of

PIXELS = jnp.asarray(np.random.RandomState(0).randint(0, 256, (5, 3, 2)).astype(np.uint8))
EPS = jnp.asarray(np.random.RandomState(1).normal(size=PIXELS.shape), jnp.float32)


@pytest.mark.parametrize(
    ("encoder", "is_exact"),
    [
        (Identity(), True),
        (NonTrainable(), True),
        (Shrinking(0.5), True),
        (Trainable(lambda x, gamma: 0.0 * x), False),  # the same x_t as that of NonTrainable, but nobody knows
    ],
)
def test_an_exact_estimate_of_the_encoded_image_shows_the_image_where_the_encoder_is_known(encoder, is_exact):
    x = process_of(encoder, None).pixel_values(PIXELS)

    def velocity(z, gamma):
        """v̂ whose x̂ is x_t."""
        alpha, sigma = (align(jnp.sqrt(jax.nn.sigmoid(g)), z) for g in (-gamma, gamma))
        return (alpha * z - encoder.mean(x, gamma)) / sigma

    process = process_of(encoder, velocity)
    steps = process.uniform_steps(6)
    for number in (2, 4, 5):
        step = steps.step(number, len(PIXELS))
        found = stage(process, step, PIXELS, EPS)
        shown = x if is_exact else encoder.mean(x, step.gamma_t)
        np.testing.assert_allclose(found.pixels.astype(jnp.float32), decoder.in_bins(shown, 256), atol=0.501)
        assert np.array_equal(found.pixels, PIXELS) == is_exact


def test_the_most_probable_pixels_are_shown_at_the_data_end():
    """The noise there is a sixth of a pixel's bin, 128 e^(γ_0/2), and mostly rounds away."""
    shown, _, near = ends(process_of(Identity(), None), PIXELS, EPS)
    bins = np.asarray(PIXELS) + 128 * np.exp(0.5 * GAMMA_0) * np.asarray(EPS)
    np.testing.assert_array_equal(shown, np.clip(np.round(bins), 0, 255))
    shown, _, far = ends(process_of(Identity(), None), PIXELS, 10.0 * EPS)
    assert not np.array_equal(shown, PIXELS)
    assert np.all(far > near)

"""The image that a receiver of z_t shows, by encoder; test_rate_distortion.py has its rates and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Identity, NonTrainable, Shrinking, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.lab.studies.progressive import stage
from tests.diffusion.formulas import process_of

PIXELS = np.random.RandomState(0).randint(0, 256, (5, 3, 2)).astype(np.uint8)
EPS = np.random.RandomState(1).normal(size=PIXELS.shape).astype(np.float32)


ENCODERS = [
    (Identity(), True),
    (NonTrainable(), True),
    (Shrinking(0.5), True),
    (Trainable(lambda x, gamma: 0.0 * x), False),  # the same x_t as that of NonTrainable, but nobody knows
]


@pytest.mark.parametrize(("encoder", "is_exact"), ENCODERS)
def test_an_exact_estimate_of_the_encoded_image_shows_the_image_where_the_encoder_is_known(encoder, is_exact):

    @jax.jit
    def shown_and_expected(number, pixels, eps):
        """The pixels, and by hand the bins that they lie in."""
        x = Levels(256).values(pixels)

        def velocity(z, gamma):
            """v̂ whose x̂ is x_t."""
            alpha, sigma = (align(jnp.sqrt(jax.nn.sigmoid(g)), z) for g in (-gamma, gamma))
            return (alpha * z - encoder.mean(x, gamma)) / sigma

        process = process_of(encoder, velocity)
        step = process.uniform_steps(6).step(number, len(pixels))
        shown = x if is_exact else encoder.mean(x, step.gamma_t)
        return stage(process, step, pixels, eps)[0], Levels(256).in_bins(shown)

    for number in (2, 4, 5):
        pixels, expected = map(np.asarray, shown_and_expected(number, PIXELS, EPS))
        np.testing.assert_allclose(pixels.astype(np.float32), expected, atol=0.501)
        assert np.array_equal(pixels, PIXELS) == is_exact

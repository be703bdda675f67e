"""Values of images by every measurement that goes through all images and a grid."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.lab.studies.by_time import measure_loss_by_time
from diffenc_jax.lab.studies.encoder_effects import measure_by_gamma
from diffenc_jax.lab.studies.progressive import measure_rates
from tests import tiny
from tests.lab.studies import runs

# Values of images [images, draws, points] that depend on noise.
MEASURED = {
    "loss by time": lambda run: measure_loss_by_time(run, 3, num_draws=2).diffusion.swapaxes(0, 1),
    "effects by γ": lambda run: np.stack(measure_by_gamma(run, 3)[3:], axis=1),
    "rates": lambda run: measure_rates(run).rate[..., 1:].swapaxes(0, 1),
}


@pytest.mark.parametrize("measure", MEASURED.values(), ids=MEASURED)
def test_values_depend_on_the_image_its_position_the_draw_and_the_point_only(measure):
    """They depend neither on the batch nor on the other images. Of two equal images each has its own noise."""
    model = runs.model_of(NonTrainable(), lambda z, gamma: jnp.cos(3 * z), (-7.0, 5.0))
    changes, images = {"eval__passes": 2, "loss__depth": 3}, tiny.images(7)
    images[1] = images[0]
    whole, fewer = (measure(runs.opened(model, images[:n], n - 3, **changes)) for n in (7, 5))
    np.testing.assert_allclose(fewer, whole[:5], rtol=1e-4)
    assert len(np.unique(whole)) == whole.size

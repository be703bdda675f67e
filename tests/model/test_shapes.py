"""Models of unusual images: single pixels, four channels, not square, two levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.losses import bound_at
from diffenc_jax.model import DataSpec, build
from tests import tiny
from tests.diffusion.formulas import process_of

UNUSUAL = [(1, (1, 1, 1), 2), pytest.param(3, (2, 6, 4), 256, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("batch", "shape", "levels"), UNUSUAL)
def test_networks_of_zeros_have_the_bound_of_a_formula_in_unusual_shapes(batch, shape, levels):
    """A network of zeros outputs 0, so v̂ = z_t; the bound of formulas is in tests/diffusion/test_extremes.py."""
    model = build(tiny.config("vdm"), DataSpec(shape, levels))
    gamma_0 = -13.3 + 2 * np.log(256 / levels)
    formula = process_of(Identity(), lambda z, _: z, pixel_levels=levels, gamma=lambda t: gamma_0 + (5.0 - gamma_0) * t)

    @jax.jit
    def both(params, pixels):
        noise = model.draw_noise(jax.random.key(1), jnp.linspace(0.2, 0.9, batch))
        return [bound_at(one, pixels, one.instant(noise.t), noise) for one in (model.bind(params), formula)]

    pixels = np.random.RandomState(0).randint(0, levels, (batch, *shape)).astype(np.uint8)
    found, expected = both(tiny.drawn(model, scale=0.0), pixels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    assert np.all(np.asarray(found.total) > 0)

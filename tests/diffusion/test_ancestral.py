"""The loop of ancestral sampling; its distribution is in test_ratios.py and test_tiny_worlds.py."""

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.diffusion.ancestral import ancestral, ancestral_step
from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.ratios import Table
from tests.diffusion.test_losses import exact_velocity, process_of

IDENTITY = process_of(Identity(), exact_velocity(jnp.ones_like))


def test_the_loop_is_its_steps(x64):
    """The whole of it, and in two parts by one program."""
    ratio = Table(jnp.linspace(0.5, 1.0, 4)[:, None] * jnp.asarray([1.0, 0.5]))
    path = IDENTITY.uniform_steps(4)._replace(ratio=ratio)
    noise = jnp.asarray(np.random.RandomState(0).normal(size=(4, 3, 2)))
    z = z_1 = jnp.ones((3, 2))
    for k, i in enumerate(reversed(range(4))):
        z = ancestral_step(IDENTITY, z, path.at(jnp.full(3, (i + 0.5) / 4)), noise[k])
    np.testing.assert_allclose(ancestral(IDENTITY, path, z_1, lambda k: noise[k]), z, rtol=1e-10)
    part = jax.jit(lambda z, first, last: ancestral(IDENTITY, path, z, lambda k: noise[k], first, last))
    np.testing.assert_allclose(part(part(z_1, 0, 1), 1, 4), z, rtol=1e-10)

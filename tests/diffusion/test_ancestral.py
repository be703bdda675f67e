"""The loop of ancestral sampling; its distribution is in test_tiny_worlds.py."""

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.diffusion.ancestral import ancestral, ancestral_step
from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.ratios import Table
from tests.diffusion.formulas import exact_velocity, process_of

IDENTITY = process_of(Identity(), exact_velocity(jnp.ones_like))


def test_the_loop_is_its_steps(x64):
    """The whole of it, and in two parts by one program."""
    ratio = Table(jax.device_put(np.linspace(0.5, 1.0, 4)[:, None] * np.asarray([1.0, 0.5])))
    path = jax.jit(lambda: IDENTITY.uniform_steps(4)._replace(ratio=ratio))()
    noise = jax.device_put(np.random.RandomState(0).normal(size=(4, 3, 2)))
    step = jax.jit(lambda z, t, noise: ancestral_step(IDENTITY, z, path.at(t), noise))
    z = z_1 = np.ones((3, 2))
    for k, i in enumerate(reversed(range(4))):
        z = step(z, np.full(3, (i + 0.5) / 4), np.asarray(noise)[k])
    whole = jax.jit(lambda z: ancestral(IDENTITY, path, z, lambda k: noise[k]))
    np.testing.assert_allclose(whole(z_1), z, rtol=1e-10)
    part = jax.jit(lambda z, first, last: ancestral(IDENTITY, path, z, lambda k: noise[k], first, last))
    np.testing.assert_allclose(part(part(z_1, 0, 1), 1, 4), z, rtol=1e-10)

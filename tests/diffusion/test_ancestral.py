"""Ancestral sampling where everything is Gaussian and linear, so that variances can be followed exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.ancestral import ancestral, ancestral_step
from diffenc_jax.diffusion.encoders import Identity, NonTrainable
from diffenc_jax.diffusion.losses import errors_at
from diffenc_jax.diffusion.ratios import Table, best_ratio
from diffenc_jax.diffusion.reverse import exponential, linear
from diffenc_jax.diffusion.steps import Steps
from tests.diffusion.test_losses import exact_velocity, process_of, schedule

IDENTITY = process_of(Identity(), exact_velocity(jnp.ones_like))


def steps(depth, ratio=1.0):
    return Steps(schedule(jnp.arange(depth + 1) / depth), Table(jnp.full(depth, ratio)))


def sampled_variance(process, depth):
    """Variance of z_0 / α_0: a step is linear in (z_t, ε), so unit inputs give its two coefficients."""
    z, eps = jnp.asarray([[1.0], [0.0]]), jnp.asarray([[0.0], [1.0]])

    @jax.jit
    @jax.vmap
    def coefficients(i):
        return ancestral_step(process, z, steps(depth).step(i, 2), eps)[:, 0]

    variance = 1.0
    for a, b in np.asarray(coefficients(jnp.arange(depth)))[::-1]:
        variance = a**2 * variance + b**2
    return variance / float(jax.nn.sigmoid(-schedule(jnp.zeros(()))))


@pytest.mark.parametrize(
    "process",
    [
        IDENTITY,
        *(
            process_of(NonTrainable(), exact_velocity(lambda gamma: jax.nn.sigmoid(-gamma)), extrapolation)
            for extrapolation in (linear, exponential)
        ),
    ],
    ids=["identity", "linear", "exponential"],
)
def test_samples_approach_the_data_at_rate_one_over_depth(x64, process):
    """The variance of the data is 1; doubling the depth halves the error."""
    errors = [abs(sampled_variance(process, depth) - 1) for depth in (200, 400)]
    assert errors[1] < 0.05
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.08)


def test_a_ratio_divides_the_variance_of_the_noise(x64):
    """At ratio w a step's noise is 1/√w of that at ratio 1, its mean the same."""
    z, eps, t = jnp.asarray([[1.0], [0.0]]), jnp.asarray([[0.0], [1.0]]), jnp.full(2, 0.3)
    plain, quarter = (ancestral_step(IDENTITY, z, steps(10, ratio).at(t), eps)[:, 0] for ratio in (1.0, 0.25))
    np.testing.assert_allclose(quarter, plain * jnp.asarray([1.0, 2.0]), rtol=1e-12)


def test_the_best_ratio_makes_few_steps_sample_the_data(x64):
    """With exact denoiser and best ratio p(z_s | z_t) is exact for Gaussian data, at any depth."""
    depth, variance = 5, 1.0
    path = steps(depth)
    for i in reversed(range(depth)):
        at = path.step(i, 4)
        signs = jnp.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        u = jnp.square(at.deviation(errors_at(IDENTITY, at, signs[:, :1], signs[:, 1:]))).mean()
        at = at._replace(ratio=Table(jnp.full(4, best_ratio(u))))
        z, eps = jnp.asarray([[1.0], [0.0], [0.0], [0.0]]), jnp.asarray([[0.0], [1.0], [0.0], [0.0]])
        a, b = ancestral_step(IDENTITY, z, at, eps)[:2, 0]
        variance = float(a**2 * variance + b**2)
    assert variance / float(jax.nn.sigmoid(-schedule(jnp.zeros(())))) == pytest.approx(1.0, abs=1e-5)


def test_the_loop_is_its_steps(x64):
    """The whole of it, and in two parts by one program."""
    path = steps(4, 0.8)
    noise = jnp.asarray(np.random.RandomState(0).normal(size=(4, 3, 2)))
    path = path._replace(ratio=Table(jnp.linspace(0.5, 1.0, 4)[:, None] * jnp.asarray([1.0, 0.5])))
    z = z_1 = jnp.ones((3, 2))
    for k, i in enumerate(reversed(range(4))):
        z = ancestral_step(IDENTITY, z, path.at(jnp.full(3, (i + 0.5) / 4)), noise[k])
    np.testing.assert_allclose(ancestral(IDENTITY, path, z_1, lambda k: noise[k]), z, rtol=1e-10)
    part = jax.jit(lambda z, first, last: ancestral(IDENTITY, path, z, lambda k: noise[k], first, last))
    np.testing.assert_allclose(part(part(z_1, 0, 1), 1, 4), z, rtol=1e-10)

"""Likelihoods of real-valued images, and their gradients, against closed forms and finite differences."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import density
from diffenc_jax.diffusion.encoders import Identity, NonTrainable
from diffenc_jax.diffusion.flow import Solver
from diffenc_jax.diffusion.gaussian import align, alpha, sigma
from diffenc_jax.diffusion.process import Prediction, Process

GAMMA_0, GAMMA_1 = -8.0, 4.0
SHAPE = (2, 3)
VARIANCE = np.asarray([[0.1, 0.5, 1.0], [0.02, 2.0, 0.3]])
# α² and σ² at γ_0 and γ_1, and the variances of z there.
(A_0, S_0), (A_1, S_1) = ((1 / (1 + math.exp(gamma)), 1 / (1 + math.exp(-gamma))) for gamma in (GAMMA_0, GAMMA_1))
V_0, V_1 = A_0 * VARIANCE + S_0, A_1 * VARIANCE + S_1
KEY = jax.random.key(0)
TIGHT = Solver(1e-9, 1e-9, method="Dopri5")
H = 1e-5


def gamma(t):
    return GAMMA_0 + (GAMMA_1 - GAMMA_0) * t


def exact(z, gamma):
    """v̂ of the exact denoiser of N(0, VARIANCE)."""
    a, s = align(alpha(gamma), z), align(sigma(gamma), z)
    x_hat = a * VARIANCE / (jnp.square(a) * VARIANCE + jnp.square(s)) * z
    return Prediction((a * z - x_hat) / s)


def curved(z, gamma):
    """A v̂ that mixes the pixels."""
    return Prediction(exact(z, gamma).v + 0.2 * jnp.sin(2.0 * z + jnp.roll(z, 1, axis=-1) + align(gamma, z)))


def draws(count=3, seed=0):
    return jnp.asarray(np.random.RandomState(seed).normal(size=(count, *SHAPE)))


def gaussian_gradient(x):
    """Of the bound for the exact denoiser."""
    return x * (A_0 / V_0 + A_1 * (1 - 1 / V_1))


def test_the_bound_of_gaussian_data(x64):
    """E[-log p(z_0)] with the exact density of z_0, beside what N(0, I) misses at γ_1, and the gradient of both.

    The loss is quadratic in the noise, so that signs ±1 give its mean, and is integrated over t by quadrature.
    """
    process, x = Process(Identity(), exact, gamma), draws(1)
    nodes, weights = np.polynomial.legendre.leggauss(100)
    t, count = jnp.asarray(0.5 * (nodes + 1)).repeat(2), 2 * len(nodes)
    eps = jnp.ones((count, *SHAPE)) * jnp.tile(jnp.asarray([1.0, -1.0]), len(nodes))[:, None, None]

    def mean(x):
        nats = density.bound_at(process, jnp.broadcast_to(x, (count, *SHAPE)), process.instant(t), eps)
        return jnp.asarray(0.25 * weights).repeat(2) @ nats

    second_0, second_1 = (a * np.square(x[0]) + s for a, s in ((A_0, S_0), (A_1, S_1)))  # E z²
    expected = 0.5 * np.sum(np.log(2 * math.pi * V_0) + second_0 / V_0)
    expected += 0.5 * np.sum(second_1 - second_1 / V_1 - np.log(V_1))
    value, gradient = jax.jit(jax.value_and_grad(mean))(x)
    assert float(value) == pytest.approx(expected, rel=1e-8)
    np.testing.assert_allclose(gradient, gaussian_gradient(x), rtol=1e-7)


def test_the_bounds_gradient_is_unbiased(x64):
    """Its mean over keys, with times and noise drawn, is the closed form's."""
    process, x = Process(Identity(), exact, gamma), draws(1)
    run = jax.jit(lambda key: density.bound_gradient(process, jnp.broadcast_to(x, (64, *SHAPE)), key))
    found = [run(jax.random.key(i)) for i in range(100)]
    means = np.stack([np.asarray(one.gradient).mean(axis=0) for one in found])
    expected = gaussian_gradient(x)[0]
    assert np.all(np.abs(means.mean(axis=0) - expected) < 5 * means.std(axis=0) / 10)
    assert np.all(np.abs(expected) > 0.01)


@pytest.mark.parametrize("divergence", ["hutchinson", pytest.param("exact", marks=pytest.mark.slow)])
def test_the_flow_of_gaussian_data(x64, divergence):
    """-log p(x) is quadratic: z_1 = S_1^½ S_0^-½ α_0 x. One probe is exact, since dimensions do not mix."""
    process, x = Process(Identity(), exact, gamma), draws()
    found = jax.jit(lambda x: density.ode_gradient(process, x, KEY, divergence=divergence, solver=TIGHT))(x)
    curvature = A_0 * V_1 / V_0
    nats = 0.5 * np.sum(curvature * np.square(x) - np.log(curvature / (2 * math.pi)), axis=(1, 2))
    np.testing.assert_allclose(found.nats, nats, rtol=1e-6)
    np.testing.assert_allclose(found.gradient, curvature * x, rtol=1e-5, atol=1e-6)


def check_finite_differences(run, x):
    """The gradient along a direction per example."""
    direction, found = draws(len(x), seed=1), run(x)
    differences = (run(x + H * direction).nats - run(x - H * direction).nats) / (2 * H)
    np.testing.assert_allclose(jnp.sum(found.gradient * direction, axis=(1, 2)), differences, rtol=1e-4)


@pytest.mark.parametrize("depth", [None, 5])
@pytest.mark.parametrize("encoder", [Identity(), NonTrainable()])
def test_finite_differences_of_the_bound(x64, encoder, depth):
    process = Process(encoder, curved, gamma)
    steps = None if depth is None else process.uniform_steps(depth)
    check_finite_differences(jax.jit(lambda x: density.bound_gradient(process, x, KEY, steps)), draws())


@pytest.mark.slow
@pytest.mark.parametrize(("divergence", "encoder"), [("hutchinson", Identity()), ("exact", NonTrainable())])
def test_finite_differences_of_the_flow(x64, divergence, encoder):
    process, probes = Process(encoder, curved, gamma), 2 if divergence == "hutchinson" else 1
    settings = {"divergence": divergence, "num_probes": probes, "solver": TIGHT}
    run = jax.jit(lambda x: density.ode_gradient(process, x, KEY, **settings))
    check_finite_differences(run, draws())
    without = jax.jit(lambda x: density.ode(process, x, KEY, **settings))(draws())
    np.testing.assert_allclose(without, run(draws()).nats, rtol=1e-9)

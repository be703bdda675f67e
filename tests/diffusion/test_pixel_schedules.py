"""A γ per dimension: the bound of an exact denoiser does not depend on the schedule, which starts as VDM."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.flow import Solver, likelihood_of
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.schedules import FixedLinear, Polynomial
from tests.diffusion.formulas import exact_denoiser

ENDS = (-7.0, 4.0)
DIMS = 3
linear = partial(FixedLinear(*ENDS).apply, {})


def warp_of(seed, ends=ENDS):
    """γ -> γ_i [..., 3] of a polynomial schedule."""
    start = np.random.RandomState(seed)
    return polynomial([start.normal(size=DIMS) for _ in "abc"], ends)


def polynomial(coefficients, ends=ENDS):
    params = {name: jnp.broadcast_to(value, DIMS) for name, value in zip("abc", coefficients, strict=True)}
    return lambda gamma: Polynomial(*ends, shape=(DIMS,)).apply({"params": params}, gamma, method="warp")


def covariance(seed):
    mix = np.random.RandomState(seed).normal(size=(DIMS, DIMS))
    return mix @ np.diag([0.02, 0.4, 3.0]) @ mix.T


def quadratic_mean(loss, matrix, count):
    """The mean of a loss that is quadratic in x ~ N(0, matrix) and ε ~ N(0, I), for each of `count` rows."""
    points = np.sqrt(2.0 * DIMS) * np.concatenate([np.eye(2 * DIMS), -np.eye(2 * DIMS)])
    root = np.linalg.cholesky(matrix)
    return np.mean([loss(*(np.tile(a, (count, 1)) for a in (root @ p[:DIMS], p[DIMS:]))) for p in points], axis=0)


def test_the_loss_of_an_exact_denoiser_is_the_information(x64):
    """½ ln det(I + SNR_0 C) - ½ ln det(I + SNR_1 C), whatever lies between the end points."""
    matrix = covariance(1)
    process = Process(Identity(), exact_denoiser(matrix), linear, warp=warp_of(1))
    t, weights = np.polynomial.legendre.leggauss(200)

    @jax.jit
    def loss(x, eps):
        instant = process.point(jnp.asarray(0.5 * (t + 1)))
        return instant.loss(losses.errors_at(process, instant, x, eps))

    information = [0.5 * np.linalg.slogdet(np.eye(DIMS) + np.exp(-end) * matrix)[1] for end in ENDS]
    assert 0.5 * weights @ quadratic_mean(loss, matrix, 200) == pytest.approx(information[0] - information[1], rel=1e-6)


def test_the_flow_of_an_exact_denoiser_has_the_density_of_the_data(x64):
    """N(0, C) with noise of γ_0, whichever way each dimension goes to N(0, I), which z_1 is but for e^-16."""
    seed, ends = 1, (-7.0, 16.0)
    matrix, gamma = covariance(seed), partial(FixedLinear(*ends).apply, {})
    process = Process(Identity(), exact_denoiser(matrix), gamma, warp=warp_of(seed, ends))
    z_0 = np.random.RandomState(seed).normal(size=(3, DIMS))
    total = jax.jit(lambda z: likelihood_of(process, z, None, Solver(1e-7, 1e-7)).total)(z_0)
    expected = multivariate_normal(cov=np.eye(DIMS) + (matrix - np.eye(DIMS)) / (1 + np.exp(ends[0])))
    np.testing.assert_allclose(total, -expected.logpdf(z_0), rtol=1e-5)


def test_steps_where_a_schedule_is_flat():
    """The slope (1 - 2 t)² is 0 at t = ½, where float32 does not resolve the ends of a short step.

    For x ~ N(0, I) the exact v̂ is 0, and the loss of short steps is the information of the other tests.
    """
    depth, flat = 1000, (0.0, -2.0, 1.0)
    t = (jnp.arange(depth) + 0.5) / depth

    def process_and_steps(coefficients):
        process = Process(Identity(), lambda z, gamma: Prediction(0 * z), linear, warp=polynomial(coefficients))
        return process, process.point(t, process.uniform_steps(depth))

    @jax.jit
    def loss(coefficients, x, eps):
        process, steps = process_and_steps(coefficients)
        return steps.loss(losses.errors_at(process, steps, x, eps))

    information = 0.5 * DIMS * (np.log1p(np.exp(-ENDS[0])) - np.log1p(np.exp(-ENDS[1])))
    assert quadratic_mean(partial(loss, flat), np.eye(DIMS), depth).mean() == pytest.approx(information, rel=0.02)

    x, eps = jnp.asarray(np.random.RandomState(0).normal(size=(2, depth, DIMS)), jnp.float32)
    assert np.isfinite(jax.grad(lambda coefficients: loss(coefficients, x, eps).mean())(flat)).all()
    _, deviation = model_step(process_and_steps(flat)[0], x, process_and_steps(flat)[1])
    assert np.min(deviation) > 0

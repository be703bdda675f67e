"""The flow's likelihood against closed forms for Gaussian data, and what is added for whole pixels."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffenc_jax.config.sections import METHODS
from diffenc_jax.diffusion.dequantisation import DEQUANTISATIONS, truncated_entropy
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.flow import DIRECTIONS, Solver, carry, exact_divergence, flow_of, hutchinson, path_likelihood
from diffenc_jax.diffusion.gaussian import align, alpha, sigma
from diffenc_jax.diffusion.process import Prediction, Process

GAMMA_0, GAMMA_1 = -13.3, 5.0
ENDS = (GAMMA_0, GAMMA_1)
LEVELS = 256
SHAPE = (2, 2)
DIMS = 4
SIGNS = np.asarray(list(itertools.product((-1.0, 1.0), repeat=DIMS))).reshape(-1, *SHAPE)


def factor(gamma):
    """f of the encoder x_t = f(γ) x, whose drift factor at infinite depth is 1."""
    return jax.nn.sigmoid(-gamma) + 0.5 * jax.nn.sigmoid(gamma) * jnp.sin(gamma)


def covariance(seed=0):
    """Covariance of four correlated dimensions of different variance."""
    a = np.random.RandomState(seed).normal(size=(DIMS, DIMS)) * np.asarray([0.1, 0.5, 1.0, 1.5])[:, None]
    return a @ a.T


def marginal(cov, gamma):
    """The covariance of z_γ."""
    return jnp.square(alpha(gamma) * factor(gamma)) * cov + jnp.square(sigma(gamma)) * jnp.eye(DIMS)


def gaussian_flow(cov):
    """The flow from v̂ and ŝ of the best score network and derivative head for data N(0, cov).

    v̂ solves v̂ - σ x̂ = E[v_t + σ slope | z] with x̂ = α z - σ v̂.
    """

    def predict(z, gamma):
        g = gamma[0]  # one for all
        a, s, (value, slope) = alpha(g), sigma(g), jax.value_and_grad(factor)(g)
        flat = z.reshape(-1, DIMS)
        whitened = jnp.linalg.solve(marginal(cov, g), flat.T).T
        x, eps = a * value * whitened @ cov, s * whitened
        slope_hat = slope / s**2 * x
        v_hat = (a * eps - s * value * x + s * slope_hat + s * a * flat) / (1 + s**2)
        return Prediction(v_hat.reshape(z.shape), slope_hat.reshape(z.shape))

    return flow_of(Process(Encoder(), predict, lambda t: GAMMA_0 + (GAMMA_1 - GAMMA_0) * t))


def follow(flow, z_0, ends=ENDS, signs=None, method="Bosh3"):
    """`path_likelihood` from z_0 between two γ; by default with the exact divergence."""
    path = jax.jit(lambda z, ends, signs: path_likelihood(flow, z, ends, signs, Solver(1e-7, 1e-7, method)))
    return jax.tree.map(np.asarray, path(z_0, ends, signs))


def draws(count):
    """[count, *SHAPE] from N(0, I)."""
    return np.random.RandomState(1).normal(size=(count, *SHAPE))


@pytest.mark.parametrize("method", METHODS)
def test_the_flow_has_the_density_of_its_data(x64, method):
    """It carries N(0, S_0) to N(0, S_1) by z_1 = S_1^½ S_0^-½ z_0, takes what arrives for N(0, I), and leads back."""
    cov, z_0 = covariance(), draws(3)
    flow = gaussian_flow(cov)
    s_0, s_1 = map(np.asarray, jax.jit(lambda *ends: [marginal(cov, gamma) for gamma in ends])(*ENDS))
    z_1, path = follow(flow, z_0, method=method)
    flat = z_0.reshape(-1, DIMS)
    quadratic = np.einsum("bi,ij,bj->b", flat, s_1 @ np.linalg.inv(s_0), flat)
    growth = 0.5 * (np.linalg.slogdet(s_1)[1] - np.linalg.slogdet(s_0)[1])
    np.testing.assert_allclose(path.prior, 0.5 * (quadratic + DIMS * math.log(2 * math.pi)), rtol=1e-4)
    np.testing.assert_allclose(path.divergence, np.full(3, -growth), atol=1e-4)
    back = jax.jit(lambda z, ends: carry(flow, z, ends, Solver(1e-7, 1e-7, method)))(z_1, ENDS[::-1])
    np.testing.assert_allclose(back, z_0, atol=1e-4)


def bend(z):
    """A field without symmetry, whose Jacobian is full."""
    flat = z.reshape(-1)
    return jnp.sin(flat * jnp.roll(flat, 1) + jnp.cumsum(flat)).reshape(z.shape)


def test_exact_divergence_is_the_jacobians_trace(x64):
    """In more dimensions than are followed at once."""
    z = np.random.RandomState(0).normal(size=(5, 15))
    assert z.size > DIRECTIONS
    (u, divergence), value, jacobian = jax.jit(lambda z: (exact_divergence(bend, z), bend(z), jax.jacfwd(bend)(z)))(z)
    np.testing.assert_allclose(u, value, rtol=1e-12)
    np.testing.assert_allclose(divergence, [np.trace(np.reshape(jacobian, (z.size, z.size)))], rtol=1e-10)


def test_hutchinsons_mean_over_all_signs_is_exact(x64):
    both = jax.jit(lambda z, signs: (hutchinson(bend, z, signs)[1], exact_divergence(bend, z)[1][0]))
    estimates, exact = map(np.asarray, both(draws(1)[0], SIGNS))
    assert estimates.mean() == pytest.approx(exact, rel=1e-10)
    assert estimates.std() > 0.1


def test_several_probes_share_a_path(x64):
    """Their mean, and no more evaluations than for one, which is followed as four equal ones."""
    z_0, signs = np.repeat(draws(2), 5, axis=0), SIGNS[:8].reshape(2, 4, *SHAPE)
    several = np.concatenate([signs[:, None], np.repeat(signs[:, :, None], 4, axis=2)], axis=1)
    _, path = follow(lambda z, gamma: jax.vmap(bend)(z), z_0, (0.0, 1.0), signs=several.reshape(10, 4, *SHAPE))
    (together, *each), (steps, *alone) = (values.reshape(2, 5).T for values in (path.divergence, path.evaluations))
    np.testing.assert_allclose(together, np.mean(each, axis=0), atol=1e-5)
    assert np.all(steps <= 1.1 * np.max(alone, axis=0))


def test_who_gives_up_is_no_number_and_evaluations_are_counted(x64):
    calls = []

    def hard(z, gamma):
        """A flow that is the harder to follow the further out one starts."""
        jax.debug.callback(lambda _: calls.append(1), gamma)
        return jnp.sin(align(gamma, z) * z) * z

    path = jax.jit(lambda z, ends: path_likelihood(hard, z, ends, None, Solver(1e-4, 1e-4, max_steps=12)))
    near, far = np.asarray([1e-3, 3.0])[:, None, None] * draws(2)
    arrived, likelihood = path(np.stack([near, far]), (-2.0, 2.0))
    for values in map(np.asarray, (arrived, likelihood.prior, likelihood.divergence)):
        assert np.isfinite(values[0]).all()
        assert np.isnan(values[1]).all()
    calls.clear()
    _, likelihood = path(np.stack([near, near]), (-2.0, 2.0))
    jax.effects_barrier()
    assert np.sum(likelihood.evaluations) == len(calls)


@pytest.mark.parametrize("tau", [0.01, 0.5, 3.0, 8.0])
def test_entropy_of_the_truncated_normal(x64, tau):
    expected = scipy.stats.truncnorm(-tau, tau).entropy()
    assert float(jax.jit(truncated_entropy)(np.float64(tau))) == pytest.approx(expected, abs=1e-9)
    with jax.enable_x64(False):
        assert float(jax.jit(truncated_entropy)(np.float32(tau))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", DEQUANTISATIONS)
@pytest.mark.parametrize("gamma_0", [GAMMA_0, -10.0])
def test_the_density_of_a_draw(x64, name, gamma_0):
    """ln q(z_0) is that of the distribution, and its mean over draws is what is added for whole pixels."""
    x, levels = np.full((20_001, 2), 0.25), 32
    u = np.stack([(np.arange(len(x)) + 0.5) / len(x)] * 2, axis=1)
    draw = jax.jit(DEQUANTISATIONS[name], static_argnums=1)
    z_0, nats, log_density = map(np.asarray, draw(x, levels, np.float64(gamma_0), u))
    a, s = (1 / math.sqrt(1 + math.exp(sign * gamma_0)) for sign in (1, -1))
    tau = math.exp(-0.5 * gamma_0) / levels
    q = {
        "uniform": scipy.stats.uniform(a * (0.25 - 1 / levels), a * 2 / levels),
        "truncated_normal": scipy.stats.truncnorm(-tau, tau, loc=a * 0.25, scale=s),
    }[name]
    np.testing.assert_allclose(log_density, q.logpdf(z_0).sum(axis=1), atol=1e-6)
    assert float(log_density.mean()) == pytest.approx(float(nats), abs=1e-3)

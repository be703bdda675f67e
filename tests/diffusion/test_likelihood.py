"""The flow's likelihood against closed forms for Gaussian data, and what is added for whole pixels."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffenc_jax.diffusion import likelihood
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.flow import MAX_STEPS, METHOD, Solver, flow_of
from diffenc_jax.diffusion.gaussian import align, alpha, sigma
from diffenc_jax.diffusion.likelihood import (
    DEQUANTISATIONS,
    DIVERGENCES,
    Probes,
    bin_nats,
    ode_likelihood,
    ode_sample,
    truncated_entropy,
)
from diffenc_jax.diffusion.process import Prediction, Process

GAMMA_0, GAMMA_1 = -13.3, 5.0
LEVELS = 256
SHAPE = (2, 2)
DIMS = 4
SIGNS = np.asarray(list(itertools.product((-1.0, 1.0), repeat=DIMS))).reshape(-1, *SHAPE)

# f of the encoder x_t = f(γ) x, and its drift factor k at infinite depth.
ENCODERS = {
    "identity": (jnp.ones_like, 0.0),
    "nontrainable": (lambda gamma: jax.nn.sigmoid(-gamma), 1.0),
    "trainable": (lambda gamma: jax.nn.sigmoid(-gamma) + 0.5 * jax.nn.sigmoid(gamma) * jnp.sin(gamma), 1.0),
}


def covariance(seed=0):
    """Of four correlated dimensions of different variance."""
    a = np.random.RandomState(seed).normal(size=(DIMS, DIMS)) * np.asarray([0.1, 0.5, 1.0, 1.5])[:, None]
    return jnp.asarray(a @ a.T)


def marginal(cov, f, gamma):
    """The covariance of z_γ."""
    return jnp.square(alpha(gamma) * f(gamma)) * cov + jnp.square(sigma(gamma)) * jnp.eye(DIMS)


def gaussian_flow(cov, f, k):
    """The flow from v̂ and ŝ of the best score network and derivative head for data N(0, cov).

    v̂ solves v̂ - k σ x̂ = E[v_t + σ slope | z] with x̂ = α z - σ v̂.
    """

    class Scaled(Encoder):
        drifts = bool(k)

    def predict(z, gamma):
        g = gamma[0]  # one for all
        a, s, (value, slope) = alpha(g), sigma(g), jax.value_and_grad(f)(g)
        flat = z.reshape(-1, DIMS)
        whitened = jnp.linalg.solve(marginal(cov, f, g), flat.T).T
        x, eps = a * value * whitened @ cov, s * whitened
        slope_hat = slope / s**2 * x
        v_hat = (a * eps - s * value * x + s * slope_hat + k * s * a * flat) / (1 + k * s**2)
        return Prediction(v_hat.reshape(z.shape), slope_hat.reshape(z.shape))

    return flow_of(Process(Scaled(), predict, lambda t: GAMMA_0 + (GAMMA_1 - GAMMA_0) * t))


def tolerant(tolerance, method="Dopri5", max_steps=MAX_STEPS):
    """A solver with one tolerance, by default of fifth order."""
    return Solver(tolerance, tolerance, max_steps, method)


def solve(flow, z_0, divergence="exact", ends=(GAMMA_0, GAMMA_1), solver=tolerant(1e-9), probe=None):  # noqa: B008
    """`ode_likelihood` between two γ, with one probe."""
    probe, ends = jnp.ones_like(z_0) if probe is None else probe, tuple(map(jnp.asarray, ends))
    run = lambda z, signs: ode_likelihood(flow, z, ends, Probes(DIVERGENCES[divergence], signs), solver)  # noqa: E731
    return jax.jit(run)(z_0, probe[:, None])


def draws(count=3, cov=None, seed=1):
    """[count, *SHAPE] from N(0, I), or from N(0, cov)."""
    normal = np.random.RandomState(seed).normal(size=(count, DIMS))
    return jnp.asarray(normal if cov is None else normal @ np.linalg.cholesky(cov).T).reshape(count, *SHAPE)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_flow_has_the_density_of_its_data(x64, name):
    """It carries N(0, S_0) to N(0, S_1) by z_1 = S_1^½ S_0^-½ z_0, and takes what arrives for N(0, I)."""
    f, k = ENCODERS[name]
    cov, z_0 = covariance(), draws()
    s_0, s_1 = (marginal(cov, f, jnp.asarray(gamma)) for gamma in (GAMMA_0, GAMMA_1))
    got = solve(gaussian_flow(cov, f, k), z_0)
    flat = z_0.reshape(-1, DIMS)
    quadratic = jnp.einsum("bi,ij,bj->b", flat, s_1 @ jnp.linalg.inv(s_0), flat)
    growth = 0.5 * (jnp.linalg.slogdet(s_1)[1] - jnp.linalg.slogdet(s_0)[1])
    np.testing.assert_allclose(got.prior, 0.5 * (quadratic + DIMS * math.log(2 * math.pi)), atol=1e-6 * DIMS)
    np.testing.assert_allclose(got.divergence, jnp.full(3, -growth), atol=1e-6 * DIMS)


def test_with_noise_enough_it_is_the_marginal_density(x64):
    """Where z_1 is N(0, I) but for e^-γ_1, -log p is that of N(0, S_0)."""
    cov, z_0, (f, k) = covariance(), draws(), ENCODERS["identity"]
    got = solve(gaussian_flow(cov, f, k), z_0, ends=(GAMMA_0, 16.0))
    marginal_0 = scipy.stats.multivariate_normal(cov=np.asarray(marginal(cov, f, jnp.asarray(GAMMA_0))))
    expected = -marginal_0.logpdf(np.asarray(z_0).reshape(-1, DIMS))
    np.testing.assert_allclose(got.prior + got.divergence, expected, rtol=1e-6)


def test_an_encoder_that_moves_needs_its_slope(x64):
    """Without ŝ the flow is another one, and by far."""
    f, k = ENCODERS["trainable"]
    cov, z_0 = covariance(), draws()

    def without(z, gamma):
        g = gamma[0]
        whitened = jnp.linalg.solve(marginal(cov, f, g), z.reshape(-1, DIMS).T).T
        slope_hat = jax.grad(f)(g) / sigma(g) ** 2 * alpha(g) * f(g) * whitened @ cov
        half = 0.5 * alpha(g) * sigma(g) ** 2
        return gaussian_flow(cov, f, k)(z, gamma) - half * slope_hat.reshape(z.shape)

    right, wrong = (solve(flow, z_0, solver=tolerant(1e-6)) for flow in (gaussian_flow(cov, f, k), without))
    assert float(jnp.abs(right.prior + right.divergence - wrong.prior - wrong.divergence).min()) > 0.1


def bend(z):
    """A field without symmetry, whose Jacobian is full."""
    flat = z.reshape(-1)
    return jnp.sin(flat * jnp.roll(flat, 1) + jnp.cumsum(flat)).reshape(z.shape)


def test_exact_divergence_is_the_jacobians_trace(x64):
    """In more dimensions than are followed at once."""
    z = jnp.asarray(np.random.RandomState(0).normal(size=(5, 15)))
    assert z.size > likelihood.DIRECTIONS
    u, divergence = jax.jit(lambda: DIVERGENCES["exact"](bend, z, jnp.ones_like(z)[None]))()
    jacobian = jax.jit(jax.jacfwd(bend))(z).reshape(z.size, z.size)
    np.testing.assert_allclose(u, bend(z), rtol=1e-12)
    assert divergence.tolist() == pytest.approx([float(jnp.trace(jacobian))], rel=1e-10)


def test_hutchinsons_mean_over_all_signs_is_exact(x64):
    z = draws(1)[0]
    estimates = jax.jit(lambda signs: DIVERGENCES["hutchinson"](bend, z, signs)[1])(jnp.asarray(SIGNS))
    assert float(estimates.mean()) == pytest.approx(float(DIVERGENCES["exact"](bend, z, z[None])[1][0]), rel=1e-10)
    assert float(estimates.std()) > 0.1


@pytest.mark.slow
def test_hutchinson_along_the_path(x64):
    """The likelihoods' mean over all signs is the exact one's; a single one differs unless dimensions do not mix."""
    f, k = ENCODERS["nontrainable"]
    z_0 = jnp.broadcast_to(draws(1), (len(SIGNS), *SHAPE))
    for cov, mixes in ((covariance(), True), (jnp.diag(jnp.asarray([0.1, 0.5, 1.0, 2.0])), False)):
        exact = float(solve(gaussian_flow(cov, f, k), z_0[:1]).divergence[0])
        got = solve(gaussian_flow(cov, f, k), z_0, "hutchinson", probe=jnp.asarray(SIGNS)).divergence
        assert float(got.mean()) == pytest.approx(exact, abs=1e-5)
        assert (float(jnp.abs(got - exact).max()) > 0.1) == mixes


def test_several_probes_share_a_path(x64):
    """Their mean, its variance from their differences, and no more evaluations than for one."""
    signs, ends, solver = jnp.asarray(SIGNS[:8]).reshape(2, 4, *SHAPE), (jnp.zeros(()), jnp.ones(())), tolerant(1e-7)
    curved, z_0 = lambda z, gamma: jax.vmap(bend)(z), draws(2)
    run = lambda signs: ode_likelihood(curved, z_0, ends, Probes(DIVERGENCES["hutchinson"], signs), solver)  # noqa: E731
    together = jax.jit(run)(signs)
    alone = solve(curved, jnp.repeat(z_0, 4, axis=0), "hutchinson", ends, solver, jnp.concatenate(signs))
    each = alone.divergence.reshape(2, 4)
    assert float(each.std(axis=1).min()) > 0.1
    np.testing.assert_allclose(together.divergence, each.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(together.probe_variance, each.var(axis=1, ddof=1) / 4, rtol=1e-5)
    np.testing.assert_allclose(together.prior, alone.prior[::4], atol=1e-5)
    assert np.all(together.evaluations <= 1.1 * alone.evaluations.reshape(2, 4).max(axis=1))
    assert alone.probe_variance is None


@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_the_likelihood_along_with_a_sample_is_that_of_the_sample(x64, divergence):
    """On the way down and on the way up, and in closed form: z_0 = S_0^½ S_1^-½ z_1 changes volume by a constant."""
    f, k = ENCODERS["trainable"]
    cov, z_1, ends = covariance(), draws(3), tuple(map(jnp.asarray, (GAMMA_0, GAMMA_1)))
    flow, signs = gaussian_flow(cov, f, k), jnp.asarray(SIGNS[:6]).reshape(3, 2, *SHAPE)
    probes = Probes(DIVERGENCES[divergence], signs)
    z_0, down = jax.jit(lambda z: ode_sample(flow, z, ends, probes, tolerant(1e-9)))(z_1)
    up = jax.jit(lambda z: ode_likelihood(flow, z, ends, probes, tolerant(1e-9)))(z_0)
    normal = 0.5 * jnp.sum(z_1**2, axis=(1, 2)) + 0.5 * DIMS * math.log(2 * math.pi)
    np.testing.assert_allclose(down.prior, normal, rtol=1e-12)
    for name in ("prior", "divergence", "total"):
        np.testing.assert_allclose(getattr(down, name), getattr(up, name), atol=1e-5)
    if divergence == "exact":
        s_0, s_1 = (marginal(cov, f, gamma) for gamma in ends)
        growth = 0.5 * (jnp.linalg.slogdet(s_0)[1] - jnp.linalg.slogdet(s_1)[1])
        np.testing.assert_allclose(down.total, normal + growth, atol=1e-6)


def test_a_sample_that_is_given_up_is_no_number(x64):
    z_1 = draws(2) * jnp.asarray([1e-3, 3.0])[:, None, None]
    probes = Probes(DIVERGENCES["hutchinson"], jnp.ones((2, 1, *SHAPE)))
    ends = tuple(map(jnp.asarray, (-2.0, 2.0)))
    z_0, path = jax.jit(lambda z: ode_sample(hard, z, ends, probes, tolerant(1e-4, max_steps=12)))(z_1)
    for values in (z_0, path.prior, path.divergence):
        assert np.isfinite(values[0]).all()
        assert np.isnan(values[1]).all()


def test_a_curved_flow_changes_volume_as_its_jacobian_says(x64):
    """-∫ div u dγ = -ln |det ∂z_1/∂z_0|, by differentiating a solution of small steps of equal size."""
    z_0 = draws(1)
    steps = 400

    def arrive(z):
        def step(z, _):  # the classical Runge-Kutta method
            h = 1.0 / steps
            a = bend(z)
            b = bend(z + 0.5 * h * a)
            c = bend(z + 0.5 * h * b)
            return z + h / 6 * (a + 2 * b + 2 * c + bend(z + h * c)), None

        return jax.lax.scan(step, z, None, length=steps)[0]

    z_1, jacobian = jax.jit(lambda z: (arrive(z), jax.jacfwd(arrive)(z).reshape(DIMS, DIMS)))(z_0[0])
    got = solve(lambda z, gamma: jax.vmap(bend)(z), z_0, ends=(0.0, 1.0))
    assert float(got.divergence[0]) == pytest.approx(-float(jnp.linalg.slogdet(jacobian)[1]), abs=1e-7)
    normal = 0.5 * float(jnp.sum(z_1**2)) + 0.5 * DIMS * math.log(2 * math.pi)
    assert float(got.prior[0]) == pytest.approx(normal, abs=1e-7)


def hard(z, gamma):
    """A flow that is the harder to follow the further out one starts."""
    return jnp.sin(align(gamma, z) * z) * z


@pytest.mark.slow
def test_a_value_does_not_depend_on_its_batch(x64):
    z_0 = draws(4) * jnp.asarray([0.1, 3.0, 0.5, 1.0])[:, None, None]
    ends = (-2.0, 2.0)
    together, alone = (solve(hard, z, ends=ends, solver=tolerant(1e-5)) for z in (z_0, z_0[2:3]))
    for a, b in zip(together[:3], alone[:3], strict=True):
        np.testing.assert_allclose(a[2], b[0], rtol=1e-10)
    assert int(together.evaluations[1]) > 2 * int(together.evaluations[0])


@pytest.mark.slow
def test_the_error_follows_the_tolerance(x64):
    f, k = ENCODERS["nontrainable"]
    flow, z_0 = gaussian_flow(covariance(), f, k), draws(cov=covariance())
    exact = solve(flow, z_0, solver=tolerant(1e-10))
    errors, evaluations = [], []
    for tolerance in (1e-2, 1e-4, 1e-6):
        got = solve(flow, z_0, solver=tolerant(tolerance, METHOD))
        difference = got.prior + got.divergence - exact.prior - exact.divergence
        errors.append(float(jnp.abs(difference).max()) / DIMS)
        evaluations.append(float(got.evaluations.mean()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 5e-5
    assert evaluations == sorted(evaluations)


@pytest.mark.parametrize(
    ("tolerance", "method"),
    [(1e-2, METHOD), *(pytest.param(1e-5, m, marks=pytest.mark.slow) for m in (METHOD, "Dopri5"))],
)
def test_evaluations_are_counted(x64, tolerance, method):
    calls = []

    def counted(z, gamma):
        jax.debug.callback(lambda _: calls.append(1), gamma)
        return hard(z, gamma)

    got = solve(counted, draws(1), "hutchinson", ends=(-2.0, 2.0), solver=tolerant(tolerance, method))
    jax.effects_barrier()
    assert int(got.evaluations[0]) == len(calls)


def test_who_gives_up_says_so(x64):
    z_0 = draws(2) * jnp.asarray([1e-3, 3.0])[:, None, None]
    got = solve(hard, z_0, ends=(-2.0, 2.0), solver=tolerant(1e-4, max_steps=12))
    assert np.isfinite([got.prior[0], got.divergence[0]]).all()
    assert np.isnan([got.prior[1], got.divergence[1]]).all()


@pytest.mark.parametrize("tau", [0.01, 0.5, 3.0, 8.0])
def test_entropy_of_the_truncated_normal(x64, tau):
    expected = scipy.stats.truncnorm(-tau, tau).entropy()
    assert float(truncated_entropy(jnp.asarray(tau))) == pytest.approx(expected, abs=1e-9)
    with jax.enable_x64(False):
        assert float(truncated_entropy(jnp.float32(tau))) == pytest.approx(expected, abs=1e-6)


def test_entropy_at_the_published_noise(x64):
    """arXiv 2305.03935 gives what truncation takes from the normal's entropy."""
    tau = jnp.exp(-0.5 * jnp.asarray(GAMMA_0)) / LEVELS
    lost = 0.5 * math.log(2 * math.pi * math.e) - float(truncated_entropy(tau))
    assert lost == pytest.approx(0.01522, abs=5e-6)


@pytest.mark.parametrize("gamma_0", [GAMMA_0, -2.0, -30.0])
def test_truncated_noise_has_its_quantiles(x64, gamma_0):
    u = jnp.linspace(0.0, 1.0, 21).reshape(1, -1)
    x = jnp.full_like(u, 0.25)
    z_0, *_ = DEQUANTISATIONS["truncated_normal"](x, LEVELS, jnp.asarray(gamma_0), u)
    tau = math.exp(-0.5 * gamma_0) / LEVELS
    a, s = alpha(jnp.asarray(gamma_0)), sigma(jnp.asarray(gamma_0))
    noise = (z_0 - a * x) / s
    np.testing.assert_allclose(noise[0], scipy.stats.truncnorm(-tau, tau).ppf(np.asarray(u[0])), rtol=1e-6, atol=1e-8)
    assert float(jnp.abs(z_0 / a - x).max()) <= (1 + 1e-9) / LEVELS


@pytest.mark.parametrize("name", DEQUANTISATIONS)
@pytest.mark.parametrize("gamma_0", [GAMMA_0, -10.0])
def test_the_density_of_a_draw(x64, name, gamma_0):
    """ln q(z_0) is that of the distribution, and its mean over draws is what is added for whole pixels."""
    x, levels, gamma_0 = jnp.full((20_001, 2), 0.25), 32, jnp.asarray(gamma_0)
    u = jnp.stack([(jnp.arange(len(x)) + 0.5) / len(x)] * 2, axis=1)
    z_0, nats, log_density = DEQUANTISATIONS[name](x, levels, gamma_0, u)
    a, s, tau = float(alpha(gamma_0)), float(sigma(gamma_0)), math.exp(-0.5 * float(gamma_0)) / levels
    q = {
        "uniform": scipy.stats.uniform(a * (0.25 - 1 / levels), a * 2 / levels),
        "truncated_normal": scipy.stats.truncnorm(-tau, tau, loc=a * 0.25, scale=s),
    }[name]
    np.testing.assert_allclose(log_density, q.logpdf(np.asarray(z_0)).sum(axis=1), atol=1e-6)
    assert float(log_density.mean()) == pytest.approx(float(nats), abs=1e-3)


def test_density_in_bins(x64):
    """A density of z_0 = α_0 x̃ that is constant over a bin gives, times the bin's width, the pixel's probability."""
    levels, gamma_0, x = 10, jnp.asarray(-4.0), 0.3
    a = float(alpha(gamma_0))
    values = scipy.stats.norm(scale=5.0)
    log_density = values.logpdf(x) - math.log(a)  # of z_0
    probability = values.cdf(x + 1 / levels) - values.cdf(x - 1 / levels)
    assert -log_density + float(bin_nats(1, levels, gamma_0)) == pytest.approx(-math.log(probability), abs=1e-3)
    assert float(bin_nats(7, levels, gamma_0)) == pytest.approx(7 * float(bin_nats(1, levels, gamma_0)))


def gap(name, density, probability, x, gamma_0, levels):
    """E[-log p(z_0)] + nats - (-log P(pixel)) by quadrature over u, for one pixel centre of one dimension."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    u = jnp.asarray(0.5 * (nodes + 1)).reshape(-1, 1)
    z_0, nats, _ = DEQUANTISATIONS[name](jnp.full_like(u, x), levels, jnp.asarray(gamma_0), u)
    return float(-(0.5 * weights) @ np.log(density(np.asarray(z_0[:, 0]))) + nats + math.log(probability))


@pytest.mark.parametrize("name", DEQUANTISATIONS)
@pytest.mark.parametrize("x", [-0.9, 0.1, 0.5])
def test_what_is_added_makes_it_a_bound_on_pixels(x64, name, x):
    """For Gaussian data in coarse bins: above -log P, by the divergence of q from p within the bin."""
    levels, gamma_0 = 10, -13.3 + 2 * math.log(256 / 10)
    a, s = float(alpha(jnp.asarray(gamma_0))), float(sigma(jnp.asarray(gamma_0)))
    z, values = scipy.stats.norm(scale=math.hypot(0.3 * a, s)), scipy.stats.norm(scale=math.hypot(0.3, s / a))
    probability = values.cdf(x + 1 / levels) - values.cdf(x - 1 / levels)
    expected = {"uniform": scipy.stats.uniform(x - 1 / levels, 2 / levels)}
    tau = math.exp(-0.5 * gamma_0) / levels
    expected["truncated_normal"] = scipy.stats.truncnorm(-tau, tau, loc=x, scale=s / a)
    q = expected[name]
    divergence = q.expect(lambda v: q.logpdf(v) - values.logpdf(v)) + math.log(probability)
    got = gap(name, z.pdf, probability, x, gamma_0, levels)
    assert got > 0
    assert got == pytest.approx(divergence, rel=1e-4)


def test_truncated_noise_is_tight_where_the_model_puts_it(x64):
    """For data that sit in the bins' centres, as pixels do, p is truncated noise in each bin; uniform noise is not."""
    levels, gamma_0 = 4, -13.3 + 2 * math.log(256 / 4)
    a, s = float(alpha(jnp.asarray(gamma_0))), float(sigma(jnp.asarray(gamma_0)))
    centres, shares = (2 * np.arange(levels) + 1) / levels - 1, np.asarray([0.1, 0.4, 0.3, 0.2])
    density = lambda z: (shares * scipy.stats.norm.pdf(z[:, None], a * centres, s)).sum(1)  # noqa: E731
    edges = np.asarray([centres[1] - 1 / levels, centres[1] + 1 / levels])
    inside = scipy.stats.norm.cdf(edges[:, None], centres, s / a)
    probability = float(shares @ (inside[1] - inside[0]))
    gaps = {name: gap(name, density, probability, centres[1], gamma_0, levels) for name in DEQUANTISATIONS}
    assert 0 <= gaps["truncated_normal"] < 0.01
    assert gaps["uniform"] > 0.5

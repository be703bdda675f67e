"""The ODE's likelihood of Gaussian pixels against the exact one, through dequantisation and the solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.special import logsumexp
from scipy.stats import norm, truncnorm

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion.dequantisation import truncated_normal
from diffenc_jax.evaluation import ode
from diffenc_jax.evaluation.estimator import Estimator
from diffenc_jax.evaluation.uncertainty import standard_errors
from tests.evaluation import subject
from tests.evaluation.gaussian import DEVIATION, LEVELS, PARAMS, VALUES, evaluate, images, make

GAMMA_0 = -13.3 + 2 * np.log(256 / LEVELS)
NOISE = np.exp(GAMMA_0 / 2)  # σ_0 / α_0
HALF = 1 / LEVELS


def marginal(x):
    """Density of z_0 / α_0 under the exact flow, but for the mismatch of N(z_1) at γ_1, which is of order α_1²."""
    return norm.pdf(x, scale=np.hypot(DEVIATION, NOISE))


def exact_nats():
    """[LEVELS] -ln P(pixel) of the flow's model."""
    edges = np.stack([VALUES - HALF, VALUES + HALF])
    low, high = norm.cdf(edges, scale=np.hypot(DEVIATION, NOISE))
    return -np.log(high - low)


def dequantised_nats():
    """[LEVELS] -E_q ln(p/q), by quadrature over the bin."""
    grid = np.linspace(-HALF, HALF, 4001)
    q = norm.pdf(grid, scale=NOISE)
    q /= trapezoid(q, grid)
    return np.array([trapezoid(q * np.log(q / marginal(x + grid)), grid) for x in VALUES])


def test_a_bound_of_the_exact_likelihood():
    """By Hutchinson's divergence and one draw; below, by the exact one and several draws."""
    pixels, estimator = images(40, 4), make(eval__passes=4, eval__estimator="ode", ode__rtol=1e-5, ode__atol=1e-5)
    values = evaluate(estimator, pixels, estimator.tables(PARAMS))
    assert estimator.name == "ode-hutchinson-truncated_normal"
    assert estimator.diagnostics(values)["evaluations"]["mean"] == values["evaluations"].mean()
    nats = sum(values[term] for term in ("prior", "divergence", "dequantisation"))
    expected = dequantised_nats()[pixels].sum(axis=(1, 2, 3))
    exact = exact_nats()[pixels].sum(axis=(1, 2, 3))
    # α_1² = 0.0067: what N(z_1; 0, I) differs from the marginal by costs less than its square.
    assert abs(nats.mean() - expected.mean()) < 4 * standard_errors(nats, 4).noise + 1e-3
    assert nats.mean() > exact.mean() - 4 * standard_errors(nats, 4).noise
    assert np.all(expected >= exact - 1e-6)


DRAWS = 16


def weighted_nats(pixels, num_draws):
    """-E ln of the mean weight of `num_draws` draws, mean over images, with the exact density of z_0 / α_0."""
    tau = HALF / NOISE
    noise = NOISE * truncnorm(-tau, tau).rvs((100, num_draws, *pixels.shape), random_state=0)
    log_q = truncnorm(-tau, tau, scale=NOISE).logpdf(noise)
    log_weights = (np.log(marginal(VALUES[pixels] + noise)) - log_q).sum(axis=(3, 4, 5))
    return (np.log(num_draws) - logsumexp(log_weights, axis=1)).mean()


def test_several_draws_are_a_tighter_bound():
    """Between -ln P and the bound, and as tight as the weights of the exact density say."""
    changes = {"eval__passes": 4, "ode__rtol": 1e-5, "ode__atol": 1e-5, "ode__divergence": "exact"}
    pixels, estimator = images(30, 4), make(eval__estimator="ode", ode__dequantisation_draws=DRAWS, **changes)
    values = evaluate(estimator, pixels, {})
    nats, exact = values["importance_weighted"], exact_nats()[pixels].sum(axis=(1, 2, 3)).mean()
    bound = dequantised_nats()[pixels].sum(axis=(1, 2, 3)).mean()
    error = standard_errors(nats, 4).noise
    assert abs(nats.mean() - weighted_nats(pixels, DRAWS)) < 4 * error + 5e-3
    assert abs(values["one_draw"].mean() - bound) < 4 * standard_errors(values["one_draw"], 4).noise + 5e-3
    assert exact - 4 * error - 5e-3 < nats.mean() < exact + 0.5 * (bound - exact)
    assert np.all(nats <= values["one_draw"] + 1e-4)


def test_a_learned_encoder_needs_the_derivative_head():
    changes = {"eval__estimator": "ode", "model__derivative_head": True}
    described = Estimator.of(subject.run_with("diffenc", **changes)).describe()
    assert "head for dx_t/dγ" in described["model"]
    with pytest.raises(InputError, match="derivative_head=True"):
        Estimator.of(subject.run_with("diffenc", **changes | {"model__derivative_head": False}))


def test_no_draw_lands_on_the_edge_of_a_bin(monkeypatch):
    """At γ_0 = -20 the edge is 86 deviations away; where the draw is 0, noise is no further than 6."""
    monkeypatch.setattr(ode, "uniform", lambda key, shape: jnp.zeros(shape, jnp.float32))
    draw = jax.jit(lambda x, gamma_0: truncated_normal(x, 256, gamma_0, ode.open_uniform(None, (1, 3))))
    z_0, *_ = draw(np.zeros((1, 3), np.float32), np.float32(-20.0))
    deviations = np.asarray(z_0) / np.sqrt(1 / (1 + np.exp(20.0)))
    assert np.all((deviations > -6.0) & (deviations < -5.0))

"""Estimators: what all of them promise, and their likelihoods against closed forms for Gaussian pixels and classes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.special import logsumexp
from scipy.stats import norm, truncnorm

from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.dequantisation import truncated_normal
from diffenc_jax.evaluation import ode
from diffenc_jax.evaluation.estimator import Estimator, Pass
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.evaluation.uncertainty import standard_errors
from tests.evaluation import subject
from tests.evaluation.gaussian import (
    DEVIATION,
    LEVELS,
    MEANS,
    PARAMS,
    SHAPE,
    VALUES,
    coded_run,
    evaluate,
    images,
    make,
    run_of_classes,
    run_with,
)
from tests.registered import ESTIMATORS

PASSES = 2
TIMES, RATIO = ({"loss__depth": 4, key: "optimal"} for key in ("loss__times", "loss__variance_ratio"))


def changes(kind):
    return {"eval__estimator": kind, "eval__passes": PASSES, "loss__depth": 5}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_an_estimators_values_are_what_it_promises(kind):
    """Nats by term for each image and pass: the same in any batch, but not in another pass or under another seed."""
    estimator, pixels = Estimator.of(run_with(**changes(kind))), images(6, 3)
    tables = estimator.tables(PARAMS)
    values = evaluate(estimator, pixels, tables)
    total = sum(values[term] for term in estimator.terms)
    assert np.all(np.isfinite(total))
    assert np.all(total[0] != total[1])
    among_others = np.concatenate([images(3, 5), pixels[4:5], images(2, 6)])
    again = estimator.estimate(Pass(PARAMS, tables, Batch(among_others), np.array([7, 2, 9, 4, 0, 1]), np.int32(1)))
    for name, value in values.items():
        np.testing.assert_allclose(again[name][3], value[1, 4], rtol=1e-5)
    other = Estimator.of(run_with(**changes(kind), eval__seed=1))
    assert np.all(sum(evaluate(other, pixels, tables)[term] for term in other.terms) != total)
    assert other.describe() == estimator.describe() | {"seed": 1}
    assert {"kind", "passes", "replicates", "seed"} <= estimator.describe().keys()
    for name, value in estimator.diagnostics(values).items():
        assert estimator.diagnostic_formats[name].format(value)


DEPTH = 8


def test_one_draw_is_the_bound_and_more_draws_are_tighter():
    pixels, changes = images(60, 3), {"loss__depth": DEPTH, "eval__num_draws": 16, "eval__passes": 8}
    estimator = make(eval__estimator="importance_weighted", **changes)
    plain = make(loss__depth=DEPTH, eval__passes=64, eval__time_sampling="uniform")
    terms = evaluate(plain, pixels, plain.tables(PARAMS))
    bound = sum(terms[term] for term in plain.terms)
    many = evaluate(estimator, pixels, estimator.tables(PARAMS))
    assert np.all(many["importance_weighted"] <= many["one_draw"] + 1e-4)
    assert np.all((many["effective_draws"] >= 1) & (many["effective_draws"] <= 16.001))
    assert many["importance_weighted"].mean() < bound.mean() - 0.05
    noise = standard_errors(many["one_draw"] - bound[:8], 8).noise
    assert abs(many["one_draw"].mean() - bound.mean()) < 4 * noise


def test_infinite_depth_has_no_path():
    with pytest.raises(InputError, match=r"needs a finite loss.depth, such as --config.loss.depth=100"):
        make(eval__estimator="importance_weighted")


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


KINDS = {
    "bound": {"eval__passes": 64, "eval__time_sampling": "uniform"},
    "ode": {"eval__estimator": "ode", "eval__passes": 4},
    "importance_weighted": {"eval__estimator": "importance_weighted", "eval__passes": 4, "loss__depth": 100},
}


def exact_bits(run, labels):
    """-log2 p(pixels | label) per dimension of the test images, for N(m, 0.3²) and bins of pixels.

    All estimators exceed it by the same, since they know of the bins no more than z_0 says.
    """
    x = VALUES[run.dataset.split("test").data].reshape(len(labels), -1)
    return -norm.logpdf(x, MEANS[labels][:, None], DEVIATION).mean(axis=1) / np.log(2) + np.log2(LEVELS / 2)


def labelled_as(run, split, labels):
    """The run with other labels of a split."""
    return run.changed(dataset=run.dataset.with_split(dataclasses.replace(run.dataset.split(split), labels=labels)))


@pytest.mark.parametrize("kind", ["bound", pytest.param("ode", marks=pytest.mark.slow)])
def test_bits_are_those_given_the_label(kind):
    """Given wrong labels they are as much higher as they should be."""
    run = run_of_classes(**KINDS[kind])
    labels = run.dataset.split("test").labels
    wrong = (labels + 1) % len(MEANS)
    bits, error = [], 0.0
    for given in (labels, wrong):
        found = Evaluator(labelled_as(run, "test", given)).evaluate(PARAMS)
        assert found["estimator"]["labels"] is True
        bits.append(found["bpd"]["total"])
        error += found["standard_error"]["noise"]
    expected = [exact_bits(run, given).mean() for given in (labels, wrong)]
    assert bits[1] - bits[0] == pytest.approx(expected[1] - expected[0], abs=4 * error + 0.03)
    assert expected[1] - expected[0] > 0.3


def test_steps_are_fitted_to_labelled_images():
    """Times and ratios that are fitted with the labels give a lower bound than those with wrong labels."""
    changes = {"loss__times": "optimal", "loss__variance_ratio": "optimal_pixel"}
    run = run_of_classes(loss__depth=4, eval__passes=16, eval__time_sampling="uniform", **changes)
    other = labelled_as(run, "train", (run.dataset.split("train").labels + 1) % len(MEANS))
    evaluator, bits = Evaluator(run), []
    for tables in [Evaluator(each).estimator.tables(PARAMS) for each in (run, other)]:
        evaluator.estimator.tables = lambda _, tables=tables: tables
        bits.append(evaluator.evaluate(PARAMS)["bpd"]["total"])
    assert bits[0] < bits[1] - 0.02


COST = np.log2(len(MEANS)) / np.prod(SHAPE)  # bits/dim


@pytest.mark.parametrize(
    "kind", ["bound", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("ode", "importance_weighted"))]
)
def test_bits_are_those_given_the_code_and_its_cost(kind):
    """Whatever the noise schedules of the pixels are, which depend on the code."""
    coded, params = coded_run(**KINDS[kind])
    labelled = run_of_classes(**KINDS[kind])
    images = coded.dataset.split("test").examples.data
    labels = np.asarray(jax.jit(coded.model.code_of)(params, images)).argmax(axis=1).astype(np.int32)
    labelled = labelled_as(labelled, "test", labels)
    ours, theirs = Evaluator(coded).evaluate(params), Evaluator(labelled).evaluate(PARAMS)
    error = np.hypot(*(found["standard_error"]["noise"] for found in (ours, theirs)))
    assert ours["bpd"]["total"] - theirs["bpd"]["total"] == pytest.approx(COST, abs=4 * error + 0.02)

"""The laws of docs/encoder-law.md: the bound is the entropy, end terms, the encoder's price and the model's errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Encoder, Identity, NonTrainable, Trainable, Unbounded
from diffenc_jax.diffusion.gaussian import align, alpha, velocity_from_image
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.ratios import Table, best_cost, best_ratio
from diffenc_jax.diffusion.reverse import exponential, linear
from diffenc_jax.diffusion.steps import Instant, Step, Steps
from tests.diffusion.law import EPS, EPS_WEIGHTS, DiscretePath, LinearPath, gauss_legendre

GAMMA_0, GAMMA_1 = -13.3, 5.0


class Function(Encoder):
    """x_t = function(x, γ)."""

    def __init__(self, function):
        self.function = function

    def mean(self, x, gamma):
        return self.function(x, gamma)


# The matrices K(γ) [T, 3, 3], from γ [T]; `np` for the closed forms and `jnp` for the losses.
def any_matrix(gamma, xp=np):
    """Random, smooth, and never singular."""
    size, phase = np.random.RandomState(0).uniform(-1, 1, (2, 4, 3, 3))
    waves = (size[i] * xp.sin(0.4 * (i + 1) * gamma[:, None, None] + 3 * phase[i]) for i in range(4))
    return np.eye(3) + 0.12 * sum(waves)


def scaled(a):
    """(1 - a σ²) I."""
    return lambda gamma, xp=np: (1 - a / (1 + xp.exp(-gamma)))[:, None, None] * np.eye(3)


def matrix_encoder(matrix):
    return Function(lambda x, gamma: jnp.einsum("bij,bj->bi", matrix(gamma, jnp), x))


# Encoder, its matrix, extrapolation.
LINEAR = {
    "identity": (Identity(), scaled(0.0), linear),
    "nontrainable": (NonTrainable(), scaled(1.0), exponential),
    "half": (Unbounded(lambda x, gamma: 0.5 * x), scaled(0.5), linear),
    "growing": (Unbounded(lambda x, gamma: 4.0 * x), scaled(-3.0), exponential),
    "matrix": (matrix_encoder(any_matrix), any_matrix, exponential),
}
_MIX = np.random.RandomState(5).normal(size=(3, 3))
STEEP, CORRELATED = np.diag([1e-3, 0.1, 10.0]), _MIX @ np.diag([0.02, 0.2, 2.0]) @ _MIX.T
# Points over which a quadratic function has the mean that it has over N(0, I_6).
POINTS = np.sqrt(6.0) * np.concatenate([np.eye(6), -np.eye(6)])


def gaussian_case(name):
    """Encoder, extrapolation and path of Gaussian data."""
    encoder, matrix, extrapolation = LINEAR[name]
    return encoder, extrapolation, LinearPath(matrix, STEEP if name == "half" else CORRELATED)


def best_costs(encoder, extrapolation, point, wanted, path):
    """Nats [T] at points [T], exactly averaged over x and ε, of the model whose x̂ is `wanted` [T, 3, 3] E[x | z_t].

    For steps: at ratio 1, and twice at the best ratio per step and dimension.
    """
    gamma = np.asarray(point.gamma_t)
    model = wanted @ path.estimator(gamma) * np.sqrt(1 + np.exp(gamma))[:, None, None]  # of z = α u
    x, eps = POINTS[:, :3] @ np.linalg.cholesky(path.covariance).T, POINTS[:, 3:]
    return [np.asarray(cost) for cost in _best_costs(encoder, extrapolation, point, model, x, eps)]


@partial(jax.jit, static_argnums=(0, 1))
def _best_costs(encoder, extrapolation, point, model, x, eps):
    def predict(z, gamma):
        return Prediction(velocity_from_image(z, jnp.einsum("bij,bj->bi", repeat(model), z), gamma))

    repeat = lambda array: jnp.repeat(array, 12, axis=0) if jnp.ndim(array) else array  # noqa: E731
    mean = lambda values: values.reshape(-1, 12, *values.shape[1:]).mean(axis=1)  # noqa: E731
    rows = jax.tree.map(repeat, point)
    x, eps = (jnp.tile(array, (len(point.gamma_t), 1)) for array in (x, eps))
    errors = losses.errors_at(Process(encoder, predict, lambda t: t, extrapolation), rows, x, eps)
    if isinstance(rows, Instant):
        return [mean(rows.loss(errors))]
    u = mean(jnp.square(rows.deviation(errors)))
    best = rows._replace(ratio=Table(repeat(best_ratio(u))))
    return mean(rows.loss(errors)), mean(best.loss(errors)), best_cost(u).sum(axis=1)


def step_costs(encoder, extrapolation, gamma_s, gamma_t, path):
    """`best_costs` of steps [T]."""
    point = jax.device_put(Step(gamma_s, gamma_t, Table(np.ones(len(gamma_s))), np.ones(())))
    drift_factor = np.asarray(point.drift_factor(extrapolation.factor)) * encoder.drifts
    b = -np.expm1(gamma_s - gamma_t) * (1 + drift_factor / (1 + np.exp(-gamma_t)))
    wanted = path.matrix(gamma_s) - np.exp(gamma_s - gamma_t)[:, None, None] * path.matrix(gamma_t)
    return best_costs(encoder, extrapolation, point, wanted / b[:, None, None], path)


def continuous_cost(encoder, extrapolation, path):
    """The diffusion term at infinite depth with the best model."""
    gamma, weights = gauss_legendre(GAMMA_0, GAMMA_1)
    point = jax.device_put(Instant(gamma, np.ones(len(gamma))))
    scale = 1 + point.drift_factor(extrapolation.factor) * encoder.drifts / (1 + np.exp(-gamma))
    wanted = (path.matrix(gamma) - path.drift(gamma)) / scale[:, None, None]
    return weights @ best_costs(encoder, extrapolation, point, wanted, path)[0]


@pytest.mark.parametrize("name", LINEAR)
def test_gaussian_data_at_infinite_depth(x64, name):
    """The diffusion term is I(x; z_0) - I(x; z_1) and the gap; the latent term is I(x; z_1) + KL(q(z_1) ‖ N(0, I))."""
    encoder, extrapolation, path = gaussian_case(name)
    expected = path.at(GAMMA_0) - path.at(GAMMA_1) + path.gap(GAMMA_0, GAMMA_1)
    assert continuous_cost(encoder, extrapolation, path) == pytest.approx(expected, rel=1e-7)
    x, latent = POINTS[:, :3] @ np.linalg.cholesky(path.covariance).T, path.at(GAMMA_1)
    found = jax.jit(lambda x, gamma: losses.latent(encoder.mean(x, gamma), gamma[0]))(x, np.full(12, GAMMA_1))
    assert np.mean(found) == pytest.approx(latent + path.divergence_from_standard(GAMMA_1), rel=1e-9)


@pytest.mark.parametrize("depth", [5, 100, 1000])
@pytest.mark.parametrize("name", LINEAR)
def test_gaussian_data_at_finite_depth(x64, name, depth):
    """I(x; z_0) - I(x; z_1) + Σ I(x; z_t | z_s) + Σ E KL(q(z_s | z_t) ‖ p(z_s | z_t)), at ratio 1 and at the best."""
    encoder, extrapolation, path = gaussian_case(name)
    s, t = np.linspace(GAMMA_0, GAMMA_1, depth + 1)[[np.arange(depth), np.arange(1, depth + 1)]]
    at_one, *at_best = (cost.sum() for cost in step_costs(encoder, extrapolation, s, t, path))
    lost = path.lost(s, t).sum()
    needed = path.at(GAMMA_0) - path.at(GAMMA_1) + lost
    assert at_one == pytest.approx(needed + path.misfit(s, t, path.step_variance(s, t)).sum(), rel=1e-7)
    assert at_best == pytest.approx([needed + path.misfit(s, t).sum()] * 2, rel=1e-7)
    # With the best ratio what is lost tends to the gap, and VDM loses nothing at any depth.
    if depth == 1000:
        assert lost == pytest.approx(path.gap(GAMMA_0, GAMMA_1), rel=0.05, abs=1e-6)
    if name == "identity":
        assert abs(lost) < 1e-6


# Four values with unequal probabilities, 1 of 4 levels each; ends at which every term matters.
LEVELS = 4
CENTRES = 2 * (np.arange(LEVELS) + 0.5) / LEVELS - 1
ENDS = (-4.0, 3.0)
PRIOR = np.array([0.1, 0.45, 0.15, 0.3])


def wandering(gamma):
    """A shift that is 0 at the data end and returns."""
    return 0.7 * jnp.sin(1.3 * (gamma - ENDS[0]))


DISCRETE = {
    "shift": (Function(lambda x, gamma: x + align(wandering(gamma), x)), linear),
    "network": (Trainable(lambda x, gamma: 2 * jnp.sin(3 * x + align(gamma, x))), linear),
    "fold": (Function(lambda x, gamma: jnp.cos(2 * x - 0.5 * align(wandering(gamma), x))), exponential),
}


def values(function, gamma):
    """function(x, γ) [B, V] of every value x."""
    x = jnp.asarray(np.tile(CENTRES, len(gamma))[:, None])
    return function(x, jnp.repeat(gamma, LEVELS)).reshape(-1, LEVELS)


def discrete_path(encoder):
    mean = jax.jit(lambda gamma: values(encoder.mean, gamma))

    def encode(gamma):
        return np.asarray(mean(np.ravel(gamma))).reshape(*np.shape(gamma), LEVELS)

    return DiscretePath(encode, PRIOR)


@partial(jax.jit, static_argnums=(0, 1, 2))
def discrete_bound(encoder, extrapolation, predict, point):
    """The bound [T] of `losses.bound_at` at points [T], exactly averaged over pixels and noise."""
    process = Process(encoder, predict, lambda t: ENDS[0] + (ENDS[1] - ENDS[0]) * t, extrapolation, Levels(LEVELS))
    count, each = len(point.gamma_t), LEVELS * len(EPS)
    rows = jax.tree.map(lambda array: jnp.repeat(array, each, axis=0) if jnp.ndim(array) else array, point)
    pixels = jnp.tile(jnp.repeat(jnp.arange(LEVELS, dtype=jnp.uint8), len(EPS)), count)[:, None]
    eps = jnp.tile(jnp.asarray(EPS), count * LEVELS)[:, None]
    total = losses.bound_at(process, pixels, rows, losses.Noise(rows.gamma_t, eps, eps)).total
    return jnp.einsum("tve,v,e->t", total.reshape(count, LEVELS, -1), PRIOR, EPS_WEIGHTS)


def end_terms(path):
    """H(x) + E KL(q(x | z_0) ‖ p(x | z_0)) + KL(q(z_1) ‖ N(0, I))."""
    start, stop = map(np.array, ENDS)
    return path.entropy + path.reconstruction_excess(start, CENTRES) + path.divergence_from_standard(stop)


def error(z, xp=np):
    """An error of x̂; `np` for the closed forms and `jnp` for the losses."""
    return 0.3 * xp.tanh(2 * z)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_data_at_infinite_depth(x64, name):
    """H(x), end terms and gap; an error of x̂ adds ½ ∫ e^(-γ) (1 + k σ²)² E error² dγ."""
    encoder, extrapolation = DISCRETE[name]
    path = discrete_path(encoder)

    def predict(z, gamma):
        def target(x, gamma):
            x_t, slope, *_ = encoder.mean_and_slope(x, gamma)
            return (x_t - align(variance, x) * slope) / align(1 + encoder.drifts * variance, x)

        variance = jnp.repeat(jax.nn.sigmoid(gamma), LEVELS)
        u = z / align(alpha(gamma), z)
        logits = jnp.log(PRIOR) - 0.5 * (u - values(encoder.mean, gamma)) ** 2 * jnp.exp(-align(gamma, z))
        x_hat = jnp.sum(jax.nn.softmax(logits) * values(target, gamma), axis=1, keepdims=True)
        return Prediction(velocity_from_image(z, x_hat + error(z, jnp), gamma))

    gamma, weights = gauss_legendre(*ENDS, nodes=60)
    width = ENDS[1] - ENDS[0]
    point = jax.device_put(Instant(gamma, np.full(len(gamma), width)))
    bound = float(weights @ np.asarray(discrete_bound(encoder, extrapolation, predict, point))) / width
    gap = path.gap(*ENDS, nodes=60)
    z = path.latents(gamma)[1] / np.sqrt(1 + np.exp(gamma))[:, None, None]
    scale = 1 + encoder.drifts / (1 + np.exp(-gamma))
    missed = 0.5 * weights @ (np.exp(-gamma) * scale**2 * path.mean(np.square(error(z))))
    assert bound == pytest.approx(end_terms(path) + gap + missed, rel=1e-6)
    assert (gap < 1e-9) == (name == "shift")


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_data_at_finite_depth(x64, name):
    """The law at finite depth for a model that is far from the best one, with a ratio per step."""
    depth, (encoder, extrapolation) = 5, DISCRETE[name]
    path = discrete_path(encoder)
    ratio = np.random.RandomState(depth).uniform(0.3, 2.0, depth)
    gamma = np.linspace(*ENDS, depth + 1)
    steps = jax.device_put(Steps(gamma, Table(ratio)))
    point = jax.jit(Steps.at)(steps, (np.arange(depth) + 0.5) / depth)
    predict = lambda z, gamma: Prediction(velocity_from_image(z, error(z, jnp), gamma))  # noqa: E731
    bound = np.mean(discrete_bound(encoder, extrapolation, predict, point))
    drift_factor = np.broadcast_to(np.asarray(point.drift_factor(extrapolation.factor)) * encoder.drifts, depth)
    lost = misfit = 0.0
    for s, t, w, k in zip(gamma[:-1], gamma[1:], ratio, drift_factor, strict=True):
        rest, spread = np.exp(s - t), 1 + np.exp(t)
        b = (1 - rest) * (1 + k * np.exp(t) / spread)
        centre = lambda u: rest * u + b * error(u / np.sqrt(spread))  # noqa: B023, E731
        parts = path.step(s, t, centre, np.exp(s) * (1 - rest) / w)
        lost, misfit = lost + parts[0], misfit + parts[1]
    assert bound == pytest.approx(end_terms(path) + lost + misfit, rel=1e-6)
    assert (lost < 1e-9) == (name == "shift")

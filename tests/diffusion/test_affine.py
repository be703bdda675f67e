"""An encoder that scales the noise: its steps, its loss and its flow against the formulas of the paper, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

from diffenc_jax.diffusion import density, losses
from diffenc_jax.diffusion.affine import MOST, Affine
from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.encoders import Residual
from diffenc_jax.diffusion.flow import flow_of
from diffenc_jax.diffusion.gaussian import align, alpha, image_from_velocity, sigma, velocity_from_image
from diffenc_jax.diffusion.importance_weights import log_path_weight
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.reverse import ThroughEncoder, linear
from diffenc_jax.diffusion.steps import Step
from tests.diffusion.law import EPS, EPS_WEIGHTS, gauss_legendre

REACH = 0.4
WIDE = Affine(REACH, lambda x, g: jnp.concatenate([jnp.sin(2 * x + align(g, x)), jnp.cos(3 * x - align(g, x))], -1))
PLAIN = Affine(REACH, lambda x, g: jnp.concatenate([jnp.sin(2 * x + align(g, x)), jnp.zeros_like(x)], -1))


def predict(z, gamma):
    return Prediction(jnp.sin(2 * z + 0.1 * align(gamma, z)))


def process_of(encoder):
    return Process(encoder, predict, lambda t: -10.0 + 14.0 * t, ThroughEncoder())


def state(encoder, x, gamma):
    """μ and σ of q(z | x)."""
    encoded = encoder.encode(x, gamma)
    return align(alpha(gamma), x) * encoded.x_t, align(sigma(gamma), x) * jnp.exp(encoded.log_std)


def posterior(encoder, x, z_t, step):
    """Mean and variance of q(z_s | z_t, x), from the marginals and the variance of the new noise."""
    (mean_s, std_s), (mean_t, std_t) = (state(encoder, x, gamma) for gamma in (step.gamma_s, step.gamma_t))
    new = np.minimum(-np.expm1(step.gamma_s - step.gamma_t), MOST * np.exp(-2 * REACH)) / (1 + np.exp(-step.gamma_s))
    new = align(jnp.asarray(new), x)
    return mean_s + jnp.sqrt(std_s**2 - new) * (z_t - mean_t) / std_t, new


@pytest.fixture
def drawn(x64):
    """Short and long steps, x and ε [8, 5]."""
    rng = np.random.RandomState(3)
    gamma_t = rng.uniform(-9.0, 4.0, 8)
    gamma_s = gamma_t - np.repeat([1e-2, 0.3, 1.0, 4.0], 2)
    step = Step(jnp.asarray(gamma_s), jnp.asarray(gamma_t), Table(jnp.asarray(rng.uniform(0.4, 1.5, 8))), jnp.ones(()))
    return step, *jnp.asarray(rng.normal(size=(2, 8, 5)))


def test_the_loss_of_a_step_is_the_divergence(drawn):
    step, x, eps = drawn
    mean_t, std_t = state(WIDE, x, step.gamma_t)
    z_t = mean_t + std_t * eps
    x_hat = image_from_velocity(z_t, predict(z_t, step.gamma_t).v, step.gamma_t)
    (mean_q, new), (mean_p, _) = (posterior(WIDE, image, z_t, step) for image in (x, x_hat))
    w = align(step.ratio.ratio, x)
    expected = 0.5 * (w - 1 - jnp.log(w) + w * (mean_q - mean_p) ** 2 / new).sum(axis=1)
    got = step.loss(losses.errors_at(process_of(WIDE), step, x, eps))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
    found = model_step(process_of(WIDE), z_t, step)
    for value, by_hand in zip(found, (mean_p, jnp.broadcast_to(jnp.sqrt(new / w), x.shape)), strict=True):
        np.testing.assert_allclose(value, by_hand, rtol=1e-9, atol=1e-9)


def velocity(encoder, x, z, gamma, share):
    """dμ/dγ + (dσ/dγ / σ + share σ_γ² / (2 σ²)) (z - μ): the reverse drift for 1, the flow for 0, forward for -1."""
    (mean, std), (mean_rate, std_rate) = jax.jvp(
        lambda gamma: state(encoder, x, gamma), (gamma,), (jnp.ones_like(gamma),)
    )
    return mean_rate + (std_rate / std + 0.5 * share * align(jax.nn.sigmoid(gamma), x) / std**2) * (z - mean)


def test_the_continuous_loss_compares_the_reverse_drifts(drawn):
    """½ γ'(t) ‖b - b̂‖² / σ_t² (arXiv 2404.12940)."""
    step, x, eps = drawn
    process, gamma = process_of(WIDE), step.gamma_t
    instant = process.instant((gamma + 10.0) / 14.0)
    mean, std = state(WIDE, x, gamma)
    z = mean + std * eps
    x_hat = image_from_velocity(z, predict(z, gamma).v, gamma)
    difference = velocity(WIDE, x, z, gamma, 1.0) - velocity(WIDE, x_hat, z, gamma, 1.0)
    expected = 0.5 * 14.0 * jnp.sum(difference**2, axis=1) / jax.nn.sigmoid(gamma)
    np.testing.assert_allclose(instant.loss(losses.errors_at(process, instant, x, eps)), expected, rtol=1e-7)
    np.testing.assert_allclose(flow_of(process)(z, gamma), velocity(WIDE, x_hat, z, gamma, 0.0), atol=1e-9)


def test_short_steps_tend_to_the_continuous_loss(drawn):
    """So the bound stays finite, with the same new noise for all images."""
    step, x, eps = drawn
    process = process_of(WIDE)
    t = (step.gamma_t + 10.0) / 14.0
    length = 1e-4
    short = Step(step.gamma_t - 14.0 * length, step.gamma_t, Table(jnp.ones(8)), jnp.asarray(1 / length))
    costs = [place.loss(losses.errors_at(process, place, x, eps)) for place in (short, process.instant(t))]
    np.testing.assert_allclose(*costs, rtol=5e-3)


def test_without_scales_it_is_an_encoder_of_the_mean(drawn):
    step, x, eps = drawn
    residual = Residual(lambda x, g: jnp.sin(2 * x + align(g, x)) - 0.0)
    short = Step(step.gamma_t - 0.4, step.gamma_t, step.ratio, step.depth)  # c <= 0.99 e^(-2 reach)
    found = []
    for encoder in (PLAIN, residual):
        process = process_of(encoder)
        instant, steps = process.instant((step.gamma_t + 10.0) / 14.0), process.uniform_steps(40)
        xi = jnp.roll(eps, 1, axis=0)
        found.append(
            [
                *(place.loss(losses.errors_at(process, place, x, eps)) for place in (instant, short)),
                *model_step(process, eps, short),
                flow_of(process)(eps, step.gamma_t),
                log_path_weight(process, steps, x, eps, lambda k, xi=xi: jnp.roll(xi, k, axis=1)).log_weight,
                losses.bound_at(process, jnp.zeros((8, 5), jnp.uint8), instant, losses.Noise(eps[:, 0], eps, xi)).total,
            ]
        )
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)


def test_published_extrapolation_is_refused():
    process = Process(WIDE, predict, lambda t: t, linear)
    with pytest.raises(ValueError, match="needs the assumption ThroughEncoder"):
        losses.errors_at(process, process.instant(jnp.zeros(2)), jnp.ones((2, 3)), jnp.ones((2, 3)))


@pytest.mark.parametrize("variance", [0.05, 0.8])
def test_gaussian_data_pay_the_information_and_the_law_s_gap(x64, variance):
    """x ~ N(0, λ), mean and noise depend on γ: gap = ½ ∫ E Var(f | z) / σ_γ² dγ, where f is the forward drift.

    The exact denoiser gives E[b | z], since b is linear in x.
    """
    ends = (-9.0, 4.0)
    factor = lambda g: 0.5 * jnp.sin(0.7 * g)  # noqa: E731
    scale = lambda g: jnp.cos(0.5 * g)  # noqa: E731
    encoder = Affine(
        REACH, lambda x, g: jnp.concatenate([align(factor(g), x) * x, align(scale(g), x) + 0.0 * x], axis=-1)
    )

    def exact(z, gamma):
        mean, std = state(encoder, jnp.ones_like(z), gamma)
        return Prediction(velocity_from_image(z, variance * mean / (variance * mean**2 + std**2) * z, gamma))

    process = Process(encoder, exact, lambda t: ends[0] + (ends[1] - ends[0]) * t, ThroughEncoder())
    nodes, weights = gauss_legendre(*ends, nodes=200)
    gamma = jnp.asarray(nodes)
    instant = process.instant((gamma - ends[0]) / (ends[1] - ends[0]))
    root, ones = np.sqrt(variance), jnp.ones((len(nodes), 1))
    costs = [
        instant.loss(losses.errors_at(process, instant, a * root * ones, b * ones)) for a in (-1, 1) for b in (-1, 1)
    ]
    diffusion = weights @ np.mean(costs, axis=0) / (ends[1] - ends[0])
    mean, std = (np.asarray(a)[:, 0] for a in state(encoder, ones, gamma))
    along = velocity(encoder, ones, 0.0 * ones, gamma, -1.0)[:, 0]  # the part of f that is proportional to x
    left = variance * std**2 / (variance * mean**2 + std**2)
    gap = 0.5 * weights @ np.asarray(along**2 * left / jax.nn.sigmoid(gamma))
    information = [
        0.5 * np.log1p(variance * float(a[0, 0] / b[0, 0]) ** 2)
        for a, b in (state(encoder, jnp.ones((1, 1)), jnp.full(1, end)) for end in ends)
    ]
    assert diffusion == pytest.approx(information[0] - information[1] + gap, rel=1e-7)
    assert gap > 1e-3


LOW, HIGH = -4.0, 3.0
VALUES, PRIOR = np.array([-0.5, 0.5]), np.array([0.3, 0.7])
# ρ(x, γ). The first is VDM's diffusion, started at widths that depend on x: its drift f is that of all images.
LOG_STDS = {
    "spreading": lambda x, g: 0.5 * jnp.log1p(jnp.exp(LOW - align(g, x)) * jnp.expm1(2 * (0.2 + 0.4 * x))),
    "kept": lambda x, g: 0.2 + 0.4 * x + 0.0 * align(g, x),
    "late": lambda x, g: 0.4 * x * jnp.tanh(align(g, x) - LOW),
}


def log_joint(encoder, z, gamma):
    """ln q(z, x) [2, B, 1] of the VALUES x."""
    states = [state(encoder, jnp.full_like(z, x), gamma) for x in VALUES]
    return jnp.stack([jnp.log(p) + norm.logpdf(z, mean, std) for p, (mean, std) in zip(PRIOR, states, strict=True)])


def exact_reverse(encoder):
    """x̂ with the reverse drift E[b | z], found by bisection between the VALUES."""

    def predict(z, gamma):
        def drift(x):
            return velocity(encoder, x, z, gamma, 1.0)

        low, high = (jnp.full_like(z, x) for x in VALUES)
        first, last = jax.nn.softmax(log_joint(encoder, z, gamma), axis=0)
        wanted = first * drift(low) + last * drift(high)
        rises = drift(high) > drift(low)

        def halve(_, ends):
            middle = 0.5 * (ends[0] + ends[1])
            above = (drift(middle) > wanted) == rises
            return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

        return Prediction(velocity_from_image(z, jax.lax.fori_loop(0, 45, halve, (low, high))[0], gamma))

    return predict


@pytest.mark.parametrize("name", LOG_STDS)
def test_the_price_is_zero_where_the_drift_is_that_of_all_images(x64, name):
    """The bound of densities is E[-ln q(z_0)] + KL(q(z_1) ‖ N(0, 1)) + ½ ∫ E Var(f | z) / σ_γ² dγ."""
    encoder = Affine(1.0, lambda x, g: jnp.concatenate([0.0 * x, jnp.arctanh(LOG_STDS[name](x, g))], axis=-1))
    process = Process(encoder, exact_reverse(encoder), lambda t: LOW + (HIGH - LOW) * t, ThroughEncoder())

    def rows(nodes):
        """x and ε [B, 1], γ [B], for all combinations."""
        x, gamma, eps = (jnp.asarray(a.ravel()) for a in np.meshgrid(VALUES, nodes, EPS, indexing="ij"))
        return x[:, None], eps[:, None], gamma

    def mean(values, weights=(1.0,)):
        return np.einsum("vge,v,g,e->", values.reshape(2, len(weights), -1), PRIOR, weights, EPS_WEIGHTS)

    @jax.jit
    def of_path(x, eps, gamma):
        """The bound, and Var(f | z) / σ_γ²."""
        nats = density.bound_at(process, x, process.instant((gamma - LOW) / (HIGH - LOW)), eps)
        at, spread = state(encoder, x, gamma)
        z = at + spread * eps
        drifts = jnp.stack([velocity(encoder, jnp.full_like(z, value), z, gamma, -1.0) for value in VALUES])
        weight = jax.nn.softmax(log_joint(encoder, z, gamma), axis=0)
        variance = jnp.prod(weight, axis=0) * jnp.square(drifts[1] - drifts[0])
        return nats, variance / align(jax.nn.sigmoid(gamma), x)

    def entropies(end):
        """E[-ln q(z)] and E[-ln N(z; 0, 1)] at an end."""
        x, eps, gamma = rows([end])
        at, spread = state(encoder, x, gamma)
        z = at + spread * eps
        return mean(-jax.nn.logsumexp(log_joint(encoder, z, gamma), axis=0)), mean(-norm.logpdf(z))

    nodes, weights = gauss_legendre(LOW, HIGH, nodes=40)
    nats, variance = of_path(*rows(nodes))
    gap = 0.5 * mean(variance, weights)
    (at_data, _), (at_noise, standard) = entropies(LOW), entropies(HIGH)
    assert mean(nats, weights) / (HIGH - LOW) == pytest.approx(at_data + standard - at_noise + gap, rel=1e-6)
    assert gap < 1e-15 if name == "spreading" else gap > 1e-3

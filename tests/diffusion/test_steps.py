"""Steps and instants against formulas by hand, for any data; closed forms are in test_encoder_law.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.encoders import MOST, Affine, Identity, NonTrainable, Residual, Shrinking, Trainable
from diffenc_jax.diffusion.flow import flow_of
from diffenc_jax.diffusion.gaussian import align, alpha, image_from_velocity, sigma
from diffenc_jax.diffusion.ratios import Table, best_cost, best_ratio
from diffenc_jax.diffusion.reverse import ThroughEncoder, exponential, linear
from diffenc_jax.diffusion.steps import Step
from tests.diffusion.formulas import GAMMA_0, GAMMA_1, diffusion_loss, in_both_precisions, process_of

REACH = 0.4


def network(x, gamma):
    return jnp.sin(2 * x + align(gamma, x))


def two_outputs(x, gamma):
    return jnp.concatenate([network(x, gamma), jnp.cos(3 * x - align(gamma, x))], axis=-1)


ENCODERS = {
    "identity": Identity(),
    "nontrainable": NonTrainable(),
    "shrinking": Shrinking(0.4),
    "trainable": Trainable(network),
    "residual": Residual(network),
    "affine": Affine(REACH, two_outputs),
}
ASSUMPTIONS = {"linear": linear, "exponential": exponential, "through": ThroughEncoder()}
# An encoder that scales the noise needs the last assumption.
PAIRS = [(name, kind) for name in ENCODERS for kind in ASSUMPTIONS if kind == "through" or name != "affine"]


def marginal(encoder, x, gamma):
    """μ and σ of q(z | x)."""
    encoded = encoder.encode(x, gamma)
    return align(alpha(gamma), x) * encoded.x_t, align(sigma(gamma), x) * encoded.noise(jnp.ones_like(x))


def posterior(encoder, x, z_t, step):
    """Mean and variance of q(z_s | z_t, x), from the marginals and the variance of the new noise."""
    (mean_s, std_s), (mean_t, std_t) = (marginal(encoder, x, gamma) for gamma in (step.gamma_s, step.gamma_t))
    most = MOST * np.exp(-2 * REACH) if encoder.scales_noise else 1.0
    new = align(jnp.minimum(-jnp.expm1(step.gamma_s - step.gamma_t), most) * jax.nn.sigmoid(step.gamma_s), x)
    return mean_s + jnp.sqrt(std_s**2 - new) * (z_t - mean_t) / std_t, new


def draw(seed, batch=16, dims=4):
    """Two points of the path, and arrays [batch, dims] for x, ε and v̂."""
    rng = np.random.RandomState(seed)
    gamma_s, gamma_t = np.sort(rng.uniform(-13.3, 5.0, (2, batch)), axis=0)
    ratio = rng.uniform(0.2, 3.0, (batch, dims))
    at = Step(gamma_s - 1e-3, gamma_t, Table(ratio), np.asarray(7.0))
    return at, rng.uniform(-1, 1, (batch, dims)), *rng.normal(size=(2, batch, dims))


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_the_loss_is_the_divergence_between_the_two_gaussians(x64, name, kind):
    """T KL(q(z_s | z_t, x) ‖ p(z_s | z_t)) for any ratios. Through the encoder, p(z_s | z_t) is q(z_s | z_t, x̂)."""
    encoder, assumption = ENCODERS[name], ASSUMPTIONS[kind]

    @jax.jit
    def found_and_by_hand(step, x, eps, v_hat):
        process, w = process_of(encoder, lambda z, gamma: v_hat, assumption), step.ratio.ratio
        mean_t, std_t = marginal(encoder, x, step.gamma_t)
        z_t = mean_t + std_t * eps
        mean_p, std_p = model_step(process, z_t, step)
        x_hat = image_from_velocity(z_t, v_hat, step.gamma_t)
        (mean_q, new), (of_estimate, _) = (posterior(encoder, image, z_t, step) for image in (x, x_hat))
        by_hand = of_estimate if kind == "through" else mean_p
        divergence = 0.5 * (w - 1 - jnp.log(w) + w * (mean_q - by_hand) ** 2 / new).sum(axis=1)
        found = diffusion_loss(process, step, x, eps), mean_p, std_p
        return found, (7 * divergence, by_hand, jnp.sqrt(new / w))

    for value, expected in zip(*found_and_by_hand(*draw(0)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-9)


def velocity(encoder, x, z, gamma, share):
    """dμ/dγ + (dσ/dγ / σ + share σ_γ² / (2 σ²)) (z - μ): the reverse drift for 1, the flow for 0."""
    state = lambda gamma: marginal(encoder, x, gamma)  # noqa: E731
    (mean, std), (mean_rate, std_rate) = jax.jvp(state, (gamma,), (jnp.ones_like(gamma),))
    return mean_rate + (std_rate / std + 0.5 * share * align(jax.nn.sigmoid(gamma), x) / std**2) * (z - mean)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_at_infinite_depth_reverse_drifts_are_compared_and_the_flow_is_that_of_the_image(x64, encoder):
    """The loss is ½ γ'(t) ‖b - b̂‖² / σ_t² (arXiv 2404.12940), where b̂ is that of x̂ through the encoder."""
    process = process_of(encoder, lambda z, gamma: jnp.sin(3 * z), ThroughEncoder())

    @jax.jit
    def found_and_by_hand(gamma, x, eps):
        instant = process.instant((gamma - GAMMA_0) / (GAMMA_1 - GAMMA_0))
        mean, std = marginal(encoder, x, gamma)
        z = mean + std * eps
        x_hat = image_from_velocity(z, jnp.sin(3 * z), gamma)
        difference = velocity(encoder, x, z, gamma, 1.0) - velocity(encoder, x_hat, z, gamma, 1.0)
        loss = 0.5 * (GAMMA_1 - GAMMA_0) * jnp.sum(difference**2, axis=1) / jax.nn.sigmoid(gamma)
        found = diffusion_loss(process, instant, x, eps), flow_of(process)(z, gamma)
        return found, (loss, velocity(encoder, x_hat, z, gamma, 0.0))

    at, x, eps, _ = draw(1)
    for value, expected in zip(*found_and_by_hand(at.gamma_t, x, eps), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-9)


best_of = jax.jit(lambda u: (best_ratio(u), best_cost(u), best_cost(u.mean())))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1e6), min_size=4, max_size=4), st.floats(0.01, 10.0))
def test_the_best_ratio_never_does_worse(errors, other):
    with jax.enable_x64(True):
        u = np.asarray(errors)
        cost = lambda w: 0.5 * (w - 1 - np.log(w) + w * u)  # noqa: E731
        ratio, expected, shared = map(np.asarray, best_of(u))
        best = cost(ratio)
        np.testing.assert_allclose(best, expected, rtol=1e-9, atol=1e-12)
        assert np.all(best <= cost(other) * (1 + 1e-12) + 1e-12)
        assert np.all(best <= cost(1.0) * (1 + 1e-12) + 1e-12)
        # A ratio for every dimension costs no more than one for all, which costs no more than none.
        assert best.mean() <= shared + 1e-9
        assert shared <= 0.5 * u.mean() + 1e-9


def test_short_steps_keep_their_digits_in_float32():
    """A step of 18.3e-4 in γ: the textbook residual x_s - e^(γ_s - γ_t) x_t - b x̂ loses half its digits there."""
    rng, encoder = np.random.RandomState(0), Trainable(lambda x, gamma: 0.5 * jnp.sin(2 * x))

    def loss(gamma, x, eps, v_hat):
        at = Step(gamma - 2.0**-9, gamma, Table(jnp.ones_like(gamma)), jnp.ones_like(gamma[0]))
        return diffusion_loss(process_of(encoder, lambda z, g: v_hat), at, x, eps)

    gamma = np.linspace(-13.0, 5.0, 50, dtype=np.float32)
    single, double = in_both_precisions(loss, gamma, *rng.normal(size=(3, 50, 8)))
    np.testing.assert_allclose(single, double, rtol=1e-4)

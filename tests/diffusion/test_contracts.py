"""The contracts of every registered schedule, encoder and prediction."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Encoder, Identity
from diffenc_jax.diffusion.gaussian import align, diffuse, image_from_velocity
from diffenc_jax.diffusion.schedules import Monotone
from tests import tiny
from tests.diffusion.formulas import GAMMA_0, GAMMA_1, diffusion_loss, process_of, schedule
from tests.registered import ENCODERS, PREDICTIONS, SCHEDULES


@pytest.mark.parametrize("name", SCHEDULES)
def test_increases_between_its_end_points(name):
    schedule = SCHEDULES[name](-13.3, 5.0)
    t = np.linspace(0.0, 1.0, 101, dtype=np.float32)
    gamma = jax.jit(lambda t: schedule.apply(schedule.init(jax.random.key(0), t), t))(t)
    gamma = np.asarray(gamma)
    assert float(gamma[0]) == pytest.approx(-13.3, abs=1e-5)
    assert float(gamma[-1]) == pytest.approx(5.0, abs=1e-5)
    assert np.all(np.diff(gamma) > 0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_interior_does_not_move_the_end_points(name):
    """The gradients of γ(0) and γ(1) by those parameters, and no others, are exactly zero, those of γ(0.4) are not."""
    schedule = SCHEDULES[name](-13.3, 5.0)
    start = jax.jit(schedule.init)(jax.random.key(0), np.zeros((), np.float32))
    variables = tiny.away_from_zero(start, scale=1.0)
    gradient = jax.jit(jax.grad(lambda variables, t: schedule.apply(variables, t)))
    if not variables:
        assert schedule.interior == ()
        return
    *ends, middle = (jax.tree.map(np.asarray, gradient(variables, t)["params"]) for t in (0.0, 1.0, 0.4))
    for part in variables["params"]:
        still = [np.all(np.asarray(leaf) == 0) for end in ends for leaf in jax.tree.leaves(end[part])]
        assert all(still) == (part in schedule.interior)
        assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(middle[part]))


@pytest.mark.parametrize("name", [name for name, kind in SCHEDULES.items() if kind.per_dimension])
def test_a_warp_increases_from_end_to_end(name):
    """From γ(0) to γ(1) in each dimension, by parameters that the levels between depend on; at first it is γ."""
    schedule, gamma = SCHEDULES[name](-13.3, 5.0).clone(shape=(2, 1, 3)), np.linspace(-13.3, 5.0, 101, dtype=np.float32)
    warp = partial(schedule.apply, method="warp")

    @jax.jit
    def values(gamma):
        start = schedule.init(jax.random.key(0), gamma, method="warp")
        variables = tiny.away_from_zero(start, scale=1.0)
        slopes = jax.grad(lambda variables: warp(variables, gamma)[40].sum())(variables)
        return warp(start, gamma), warp(variables, gamma), slopes

    initial, levels, slopes = jax.tree.map(np.asarray, values(gamma))
    np.testing.assert_allclose(initial, np.broadcast_to(gamma[:, None, None, None], initial.shape), atol=1e-5)
    assert levels.shape == (101, 2, 1, 3)
    np.testing.assert_allclose(levels[[0, -1]], np.broadcast_to([[[[-13.3]]], [[[5.0]]]], (2, 2, 1, 3)), atol=1e-5)
    assert np.all(np.diff(levels, axis=0) > 0)
    for leaf in jax.tree.leaves(slopes):
        assert np.all(leaf != 0)


MONOTONE = Monotone(-13.3, 5.0)
START = jax.tree.map(np.asarray, jax.jit(MONOTONE.init)(jax.random.key(0), np.float32(0.0)))
TIMES = np.linspace(0.0, 1.0, 201, dtype=np.float32)
apply, softplus = jax.jit(MONOTONE.apply), jax.jit(jax.nn.softplus)
slopes = jax.jit(lambda variables, t: jax.jvp(lambda t: MONOTONE.apply(variables, t), (t,), (jnp.ones_like(t),))[1])


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(0.0, 10.0),
    # XLA takes subnormal numbers for zero.
    gamma_0=st.floats(-30.0, 20.0, width=32, allow_subnormal=False),
    span=st.floats(-80.0, 60.0, width=32, allow_subnormal=False),
    slope=st.floats(0.5, 40.0, width=32),
)
def test_monotone_keeps_its_end_points_and_increases(seed, scale, gamma_0, span, slope):
    """To the bit, whatever the program and the parameters; where float32 cannot tell values apart, by its slope."""
    params = tiny.away_from_zero(START, scale, seed)["params"]
    gamma_0, span = np.float32(gamma_0), np.float32(span)
    network = params["network"] | {"linear": np.float32(slope)}
    variables = {"params": {"gamma_0": gamma_0, "span": span, "network": network}}
    gamma, gamma_1 = np.asarray(apply(variables, TIMES)), gamma_0 + softplus(span)
    assert (gamma[0], gamma[-1]) == (gamma_0, gamma_1)
    assert (apply(variables, np.float32(0)), apply(variables, np.float32(1))) == (gamma_0, gamma_1)
    assert np.all(np.asarray(slopes(variables, TIMES)) > 0)
    if span > 1.0:
        assert np.all(np.diff(gamma) > 0)


def test_monotone_is_the_published_network_between_its_end_points(x64):
    """γ_0 + ln(1 + e^span) (h(t) - h(0)) / (h(1) - h(0)) with h as the code of arXiv 2107.00630 has it."""
    variables = tiny.away_from_zero(jax.tree.map(np.float64, START), scale=1.0)
    params = variables["params"]
    network = {name: np.asarray(value) for name, value in params["network"].items()}

    def h(t):
        u = np.abs(network["kernel"]) * (2 * t[:, None] - 1) + network["bias"]
        hidden = 2 * (1 / (1 + np.exp(-u))) - 1
        return np.abs(network["linear"]) * t + hidden @ np.abs(network["out"]) / 1024

    t = np.linspace(0, 1, 17)
    share = (h(t) - h(np.zeros(1))) / (h(np.ones(1)) - h(np.zeros(1)))
    expected = float(params["gamma_0"]) + np.logaddexp(0.0, float(params["span"])) * share
    np.testing.assert_allclose(jax.jit(MONOTONE.apply)(variables, t), expected, 1e-12)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_noise_at_the_data_end_is_a_sixth_of_a_bin(levels):
    sigma_in_bins = np.exp(Levels(levels).gamma_min / 2) / (2 / levels)
    assert sigma_in_bins == pytest.approx(0.1655, abs=2e-4)


class MeanAlone(Encoder):
    """x_t = x cos(σ_t²), by its mean alone."""

    def mean(self, x, gamma):
        return x * jnp.cos(align(jax.nn.sigmoid(gamma), x))


ALL = {**ENCODERS, "mean alone": MeanAlone}
# Values of the encoders' own keys.
OPTIONS = {"shrinking": {"amount": 0.5}, "affine": {"reach": 0.3}}


def compiled(encoder):
    """The encoder, each of its functions of arrays as one program."""
    for name in ("mean", "mean_and_slope", "mean_and_quotient", "slope_estimate", "image_estimate"):
        object.__setattr__(encoder, name, jax.jit(getattr(encoder, name)))
    return encoder


@cache
def make(name):
    kind = ALL[name]
    output = lambda x, gamma: jnp.concatenate([jnp.sin(2 * x + align(gamma, x))] * kind.outputs, axis=-1)  # noqa: E731
    return compiled(kind(**OPTIONS.get(name, {}), **({"network": output} if kind.network_kind else {})))


@pytest.fixture
def x():
    return jnp.asarray(np.random.RandomState(0).uniform(-1, 1, (7, 4, 2)))


@pytest.mark.parametrize("name", ALL)
def test_slope_is_the_derivative_over_the_variance(x64, name, x):
    """And nothing is changed at the data end."""
    encoder, gamma = make(name), jnp.linspace(-13.0, 5.0, 7)
    x_t, slope, *_ = encoder.mean_and_slope(x, gamma)
    np.testing.assert_allclose(x_t, encoder.mean(x, gamma), rtol=1e-12)
    step = 1e-5
    difference = (encoder.mean(x, gamma + step) - encoder.mean(x, gamma - step)) / (2 * step)
    np.testing.assert_allclose(align(jax.nn.sigmoid(gamma), x) * slope, difference, atol=1e-9)
    np.testing.assert_allclose(encoder.mean(x, jnp.full(7, -40.0)), x, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_quotient_is_the_difference_over_its_weight(x64, name, x):
    """(x_t - x_s) / (c σ_t²), of steps long and short."""
    encoder, gamma_t = make(name), jnp.linspace(-12.0, 5.0, 7)
    gamma_s = gamma_t - jnp.asarray([0.01, 0.1, 1.0, 3.0, 6.0, 12.0, 18.0])
    x_t, quotient, *_ = encoder.mean_and_quotient(x, gamma_s, gamma_t)
    np.testing.assert_allclose(x_t, encoder.mean(x, gamma_t), rtol=1e-12)
    weight = -jnp.expm1(gamma_s - gamma_t) * jax.nn.sigmoid(gamma_t)
    np.testing.assert_allclose(align(weight, x) * quotient, x_t - encoder.mean(x, gamma_s), atol=1e-12)


@pytest.mark.parametrize("name", ENCODERS)
def test_quotient_of_a_short_step_is_the_slope(x64, name, x):
    encoder, gamma = make(name), jnp.linspace(-13.0, 5.0, 7)
    _, slope, *_ = encoder.mean_and_slope(x, gamma)
    _, quotient, *_ = encoder.mean_and_quotient(x, gamma - 1e-6, gamma)
    np.testing.assert_allclose(quotient, slope, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, kind in ENCODERS.items() if kind.has_slope])
def test_an_encoder_estimates_its_own_slope_and_image(x64, name, x):
    encoder, gamma = make(name), jnp.linspace(-13.0, 5.0, 7)
    x_t, slope, *_ = encoder.mean_and_slope(x, gamma)
    np.testing.assert_allclose(encoder.slope_estimate(x_t, gamma), slope, atol=1e-12)
    np.testing.assert_allclose(encoder.image_estimate(x_t, gamma), x, atol=1e-12)


def factor_of_change(gamma):
    """σ / sqrt(σ² + 0.01)."""
    return jnp.sqrt(jax.nn.sigmoid(gamma) / (jax.nn.sigmoid(gamma) + 0.01))


# The quantity that each name stands for, from x_t, ε and γ.
MEANT = {
    "v": lambda x, eps, gamma: diffuse(x, gamma, eps)[1],
    "change": lambda x, eps, gamma: (
        diffuse(x, gamma, eps)[0] + diffuse(x, gamma, eps)[1] / align(factor_of_change(gamma), x)
    ),
    "eps": lambda x, eps, gamma: eps,
    "x": lambda x, eps, gamma: x,
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_float32_keeps_the_image(name):
    """x̂ from the truth, in float32, to some of its roundings wherever the noise is."""
    x, eps = jax.device_put(np.random.RandomState(0).uniform(-1, 1, (2, 32, 20)).astype(np.float32))
    gamma = schedule(jnp.linspace(0.0, 1.0, 32))
    z, _ = diffuse(x, gamma, eps)
    v_hat = PREDICTIONS[name](z, MEANT[name](x, eps, gamma), gamma)
    np.testing.assert_allclose(image_from_velocity(z, v_hat, gamma), x, atol=1e-5)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_loss_of_the_identity_is_a_weighted_square(x64, name):
    """½ γ' α² ‖v - v̂‖² = ½ γ' ‖ε - ε̂‖² = ½ γ' e^(-γ) ‖x - x̂‖²."""
    rng = np.random.RandomState(0)
    t, (x, eps, error) = jax.device_put((rng.uniform(size=6), rng.normal(size=(3, 6, 3, 2))))
    gamma = schedule(t)
    alpha2 = jax.nn.sigmoid(-gamma)
    change = alpha2 * jnp.square(factor_of_change(gamma))
    weight = {"v": alpha2, "change": change, "eps": 1.0, "x": jnp.exp(-gamma)}[name]
    estimate = MEANT[name](x, eps, gamma) + error
    process = process_of(Identity(), lambda z, g: PREDICTIONS[name](z, estimate, g))
    loss = jax.jit(lambda t, x, eps: diffusion_loss(process, process.instant(t), x, eps))(t, x, eps)
    expected = 0.5 * (GAMMA_1 - GAMMA_0) * weight * jnp.sum(error**2, axis=(1, 2))
    np.testing.assert_allclose(loss, expected, rtol=1e-9)

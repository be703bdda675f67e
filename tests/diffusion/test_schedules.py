"""The contract of every registered schedule."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.schedules import Monotone
from tests import tiny
from tests.registered import SCHEDULES


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

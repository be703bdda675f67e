"""Group norm and its swish against the formula and flax's, in values and derivatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.norms import EPSILON, GroupNorm

GROUPS = 4


@pytest.fixture(scope="module")
def case():
    """Parameters, and inputs whose mean is as large as their standard deviation."""
    rng = np.random.RandomState(0)
    params = {"scale": rng.normal(size=8), "bias": rng.normal(size=8)}
    x = 1.0 + rng.normal(size=(2, 3, 5, 8)) * rng.uniform(0.5, 2, size=8)
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), ({"params": params}, x))


def theirs(params, x):
    return nn.swish(nn.GroupNorm(GROUPS, epsilon=EPSILON).apply(params, x))


@pytest.fixture(params=[True, False], ids=["recomputed", "kept"])
def ours(request):
    return GroupNorm(GROUPS, jnp.float32, swish=True, recompute=request.param).apply


def test_it_is_the_formula(case):
    params, x = case
    grouped = np.asarray(x, np.float64).reshape(2, 15, GROUPS, 2)
    mean, var = (getattr(grouped, name)(axis=(1, 3), keepdims=True) for name in ("mean", "var"))
    normed = ((grouped - mean) / np.sqrt(var + 1e-6)).reshape(x.shape)
    expected = normed * params["params"]["scale"] + params["params"]["bias"]
    np.testing.assert_allclose(GroupNorm(GROUPS, jnp.float32).apply(params, x), expected, atol=5e-6)


def test_values_gradients_and_tangents_are_flaxs(case, ours):
    params, x = case
    weight = jnp.asarray(np.random.RandomState(1).normal(size=x.shape), jnp.float32)

    def values_and_derivatives(f):
        slope = lambda params, x: jax.jvp(lambda x: f(params, x), (x,), (weight,))[1]  # noqa: E731
        loss = lambda params, x: jnp.sum(weight * f(params, x)) + jnp.sum(jnp.square(slope(params, x)))  # noqa: E731
        return jax.jit(lambda params, x: (f(params, x), slope(params, x), jax.grad(loss, (0, 1))(params, x)))(params, x)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4),
        values_and_derivatives(ours),
        values_and_derivatives(theirs),
    )


def test_statistics_are_float32_for_bfloat16_inputs_and_outputs(case):
    """In bfloat16, 1000 + x would lose x."""
    params, x = case
    wide = (1000.0 + x).astype(jnp.bfloat16)
    got = GroupNorm(GROUPS, jnp.bfloat16).apply(params, wide)
    exact = GroupNorm(GROUPS, jnp.float32).apply(params, wide.astype(jnp.float32))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(jnp.float32), exact, rtol=1e-2, atol=1e-2)


def test_equal_inputs_give_finite_values(case, ours):
    """Var = E x² - (E x)² may round below zero."""
    params, _ = case
    x = jnp.full((1, 4, 4, 8), 1234.567)
    value, grad = jax.value_and_grad(lambda x: ours(params, x).sum())(x)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()

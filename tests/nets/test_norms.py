"""Group norm and its swish against the formula and flax's, in values and derivatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels.norm import EPSILON
from diffenc_jax.nets.norms import GroupNorm

GROUPS = 4


@pytest.fixture(scope="module")
def case():
    """Parameters, and inputs whose mean is as large as their standard deviation."""
    rng = np.random.RandomState(0)
    params = {"scale": rng.normal(size=8), "bias": rng.normal(size=8)}
    x = 1.0 + rng.normal(size=(2, 3, 5, 8)) * rng.uniform(0.5, 2, size=8)
    return jax.tree.map(np.float32, ({"params": params}, x))


@pytest.mark.parametrize("remat", ["none", "block"])
def test_values_gradients_and_tangents_are_flaxs(case, remat):
    """Also for equal inputs, of which Var = E x² - (E x)² may round below zero."""
    params, x = case
    weight = np.random.RandomState(1).normal(size=x.shape).astype(np.float32)
    ours = GroupNorm(GROUPS, Compute(remat=remat), swish=True).apply
    theirs = lambda params, x: nn.swish(nn.GroupNorm(GROUPS, epsilon=EPSILON).apply(params, x))  # noqa: E731

    def values_and_derivatives(f):
        slope = lambda params, x: jax.jvp(lambda x: f(params, x), (x,), (weight,))[1]  # noqa: E731
        loss = lambda params, x: jnp.sum(weight * f(params, x)) + jnp.sum(jnp.square(slope(params, x)))  # noqa: E731
        return lambda params, x: (f(params, x), slope(params, x), jax.grad(loss, (0, 1))(params, x))

    both = jax.jit(lambda *inputs: [values_and_derivatives(f)(*inputs) for f in (ours, theirs)])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), *both(params, x))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(both(params, np.full_like(x, 1234.567))[0]))


def test_statistics_are_float32_for_bfloat16_inputs_and_outputs(case):
    """In bfloat16, 1000 + x would lose x."""
    params, x = case
    wide = (1000.0 + x).astype(jnp.bfloat16)
    normed = lambda dtype, x: GroupNorm(GROUPS, Compute(dtype)).apply(params, x)  # noqa: E731
    both = jax.jit(lambda x: (normed(jnp.bfloat16, x), normed(jnp.float32, x.astype(jnp.float32))))
    got, exact = map(np.asarray, both(wide))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(np.float32), exact, rtol=1e-2, atol=1e-2)

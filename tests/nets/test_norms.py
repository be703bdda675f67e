"""Group norm and its swish against the formula and flax's, in values and derivatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels.features import Features
from diffenc_jax.nets.kernels.norm import EPSILON
from diffenc_jax.nets.norms import GroupNorm

GROUPS = 4


@pytest.fixture(scope="module")
def case():
    """Parameters, and features whose mean is as large as their standard deviation."""
    rng = np.random.RandomState(0)
    params = {"scale": rng.normal(size=8), "bias": rng.normal(size=8)}
    x = 1.0 + rng.normal(size=(2, 3, 5, 8)) * rng.uniform(0.5, 2, size=8)
    return jax.tree.map(np.float32, ({"params": params}, Features(x, rng.normal(size=(2, 8)))))


@pytest.mark.parametrize(("remat", "platform"), [("none", "cpu"), ("block", "cpu"), ("none", "tpu")])
def test_values_gradients_and_tangents_are_flaxs(case, remat, platform):
    """Also for equal inputs, of which Var = E x² - (E x)² may round below zero."""
    params, features = case
    weight = np.random.RandomState(1).normal(size=features.x.shape).astype(np.float32)
    ours = GroupNorm(GROUPS, Compute(remat=remat, platform=platform), swish=True).apply
    theirs = lambda params, h: nn.swish(nn.GroupNorm(GROUPS, epsilon=EPSILON).apply(params, h.sum()))  # noqa: E731

    def values_and_derivatives(f):
        slope = lambda params, h: jax.jvp(lambda h: f(params, h), (h,), (dots,))[1]  # noqa: E731
        loss = lambda params, h: jnp.sum(weight * f(params, h)) + jnp.sum(jnp.square(slope(params, h)))  # noqa: E731
        return lambda params, h: (f(params, h), slope(params, h), jax.grad(loss, (0, 1))(params, h))

    dots = Features(weight, features.offset[::-1])
    both = jax.jit(lambda *inputs: [values_and_derivatives(f)(*inputs) for f in (ours, theirs)])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), *both(params, features))
    equal = features._replace(x=np.full_like(weight, 1234.567))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(both(params, equal)[0]))


def test_statistics_are_float32_for_bfloat16_inputs_and_outputs(case):
    """In bfloat16, 1000 + x would lose x."""
    params, features = case
    wide = (1000.0 + features.x).astype(jnp.bfloat16)
    normed = lambda dtype, x: GroupNorm(GROUPS, Compute(dtype)).apply(params, Features(x))  # noqa: E731
    both = jax.jit(lambda x: (normed(jnp.bfloat16, x), normed(jnp.float32, x.astype(jnp.float32))))
    got, exact = map(np.asarray, both(wide))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(np.float32), exact, rtol=1e-2, atol=1e-2)

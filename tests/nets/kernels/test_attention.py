"""Attention against its formula, in values and derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.kernels import attention
from diffenc_jax.nets.kernels.attention import attend


def formula(query, key, value):
    scores = jnp.einsum("bqc,bkc->bqk", query, key) / np.sqrt(query.shape[-1])
    return jnp.einsum("bqk,bkc->bqc", jax.nn.softmax(scores), value)


def test_great_scores_stay_finite():
    query, key, value = np.random.RandomState(0).normal(size=(3, 2, 5, 4)).astype(np.float32)
    great = jax.value_and_grad(lambda query: attend(query, 1e3 * key, value).sum())
    mixed, gradient = map(np.asarray, jax.jit(great)(1e3 * query))
    assert np.isfinite(mixed)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("most", [8, 16])
def test_it_is_the_formula_with_its_derivatives(monkeypatch, scan, most):
    """Four queries are taken 2 or 4 at a time."""
    monkeypatch.setattr(attention, "MAX_SCORES", most)
    inputs = tuple(jax.device_put(np.random.RandomState(1).normal(size=(3, 2, 4, 3)).astype(np.float32)))
    tangents = tuple(np.cos(3 * x) for x in inputs)

    def values(f):
        slope = lambda *inputs: jnp.sum(jax.jvp(f, inputs, tangents)[1] ** 2)  # noqa: E731
        return f(*inputs), slope(*inputs), jax.grad(slope, argnums=(0, 1, 2))(*inputs)

    got, expected = jax.jit(lambda: (values(partial(attend, scan=scan)), values(formula)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, expected)

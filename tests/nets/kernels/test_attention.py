"""Attention against its formula, in values and derivatives, by XLA and by a stand-in for the kernels of cuDNN."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.kernels import attention
from diffenc_jax.nets.kernels.attention import attend, on_gpu
from tests.nets.kernels.attention_formula import formula, kernel_of, random

ALL = (0, 1, 2)  # query, key and value


def assert_close(f, values):
    got, expected = jax.jit(lambda: (values(f), values(formula)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


def test_great_scores_stay_finite():
    query, key, value, _ = random((2, 5, 4))
    great = jax.value_and_grad(lambda query: attend(query, 1e3 * key, value).sum())
    mixed, gradient = map(np.asarray, jax.jit(great)(1e3 * query))
    assert np.isfinite(mixed)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("most", [8, 16])
def test_it_is_the_formula_with_its_derivatives(monkeypatch, scan, most):
    """Four queries are taken 2 or 4 at a time."""
    monkeypatch.setattr(attention, "MAX_SCORES", most)
    *inputs, _ = random((2, 4, 3))
    tangents = tuple(jnp.cos(3 * x) for x in inputs)

    def values(f):
        slope = lambda *inputs: jnp.sum(jax.jvp(f, inputs, tangents)[1] ** 2)  # noqa: E731
        return f(*inputs), slope(*inputs), jax.grad(slope, ALL)(*inputs)

    assert_close(partial(attend, scan=scan), values)


@pytest.mark.parametrize(("count", "supported"), [(3, True), (4, False)])
def test_kernels_have_derivatives_of_second_order(monkeypatch, count, supported):
    """Reverse over forward in a checkpointed layer, as in training; forward and reverse over reverse; maps of these."""
    *inputs, out_bar = random((2, count, 4))
    tangents = tuple(jnp.cos(3 * x) for x in inputs)
    if supported:
        monkeypatch.setattr(attention, "_kernel", kernel_of)

    def values(f):
        f = jax.checkpoint(f)
        loss = lambda *inputs: jnp.sum(out_bar * f(*inputs) ** 2)  # noqa: E731
        slope = lambda *inputs: jnp.sum(out_bar * jax.jvp(f, inputs, tangents)[1] ** 2)  # noqa: E731
        by_key = jax.grad(loss, 1)
        scaled = lambda scale: jax.vjp(f, *inputs)[1](scale * out_bar)  # noqa: E731
        scales = jnp.arange(1.0, 4.0)
        return (
            jax.value_and_grad(loss, ALL)(*inputs),
            jax.value_and_grad(slope, ALL)(*inputs),
            jax.jvp(jax.grad(loss, ALL), tuple(inputs), tangents),
            jax.grad(lambda *inputs: jnp.sum(out_bar * by_key(*inputs)), ALL)(*inputs),
            jax.vmap(scaled)(scales),
            jax.vmap(lambda scale: f(scale * inputs[0], *inputs[1:]))(scales),
        )

    assert_close(on_gpu, values)

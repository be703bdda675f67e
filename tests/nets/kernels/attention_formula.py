"""Attention by its formula, which also stands in for the kernels of cuDNN."""

import jax
import jax.numpy as jnp
import numpy as np


def formula(query, key, value):
    scores = jnp.einsum("bqc,bkc->bqk", query, key) / np.sqrt(query.shape[-1])
    return jnp.einsum("bqk,bkc->bqc", jax.nn.softmax(scores), value)


def random(shape):
    """Query, key, value and a cotangent."""
    return tuple(jax.device_put(np.random.RandomState(0).normal(size=(4, *shape)).astype(np.float32)))


def kernel_of(query, key, value):
    """The formula as cuDNN's kernels have it: with a gradient, and with no derivative in forward mode."""
    backward = jax.custom_vjp(formula)
    backward.defvjp(lambda *inputs: jax.vjp(formula, *inputs), lambda pull, out_bar: pull(out_bar))
    return backward(query, key, value)

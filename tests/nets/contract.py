"""The contract of a score network, and small networks that keep it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.mlp import Mlp
from diffenc_jax.nets.transformer import Transformer
from diffenc_jax.nets.unet import UNet
from tests import tiny

COMMON = dict(dropout=0.3, fourier_bins=(4.0, 2.0), bin_width=2 / 17)
UNET = UNet(width=32, layers=1, levels=0, **tiny.NORMS, **COMMON)
TRANSFORMER = Transformer(**tiny.TRANSFORMER, **COMMON, skip_connections=True)
MLP = Mlp(width=32, layers=1, **COMMON)
KEY = jax.random.key(0)
HEADS = ("derivative", "error")
X = np.random.RandomState(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
TIME = np.asarray([0.2, 0.7], np.float32)


def output_and_slope(apply):
    """A scalar of the output and of its derivative in time."""
    out, slope = jax.jvp(apply, (TIME,), (jnp.ones_like(TIME),))
    return jnp.sum(jnp.sin(out)) + jnp.sum(slope**2) * 1e-3


def assert_computed_alike(net, *computes, f=output_and_slope):
    """f(network as a function of the time), under dropout, and its gradient by the parameters are equal."""
    params = tiny.drawn(net, X, TIME)

    def value_and_gradient(compute):
        apply = net.clone(compute=compute).apply
        return jax.jit(jax.value_and_grad(lambda params: f(lambda t: apply(params, X, t, KEY))))(params)

    (value, gradient), (expected, expected_gradient) = map(value_and_gradient, computes)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(expected_gradient))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * scale), gradient, expected_gradient)


def assert_mask_matters_and_computation_does_not(net):
    """The output depends on the dropout key, but not on `scan`; in bfloat16 they stay near float32, and are float32."""
    params = tiny.drawn(net, X, TIME, scale=0.05)
    rounded, scanned = net.clone(compute=Compute(dtype=jnp.bfloat16)), net.clone(compute=Compute(scan=True))

    @jax.jit
    def outputs(params):
        keys = jax.random.split(KEY)
        masked = jax.vmap(lambda key: net.apply(params, X, TIME, key))(keys)
        return *masked, *(one.apply(params, X, TIME, keys[0]) for one in (scanned, rounded))

    first, other, same, near = map(np.asarray, outputs(params))
    np.testing.assert_allclose(same, first, rtol=1e-4, atol=1e-5 * np.abs(first).max())
    assert not np.allclose(first, other)
    assert near.dtype == np.float32
    assert 0 < np.linalg.norm(near - first) / np.linalg.norm(first) < 0.03


def last_arrays(variables):
    """One array of each part of a network."""
    return {name: jax.tree.leaves(part)[-1] for name, part in variables["params"].items()}


def assert_zero_at_initialisation(net):
    """A fresh network and its head return zero, and the head leaves the start of the other parameters."""
    net = net.clone(layers=1)
    with_head = net.clone(extra_heads=HEADS[:1])

    @jax.jit
    def start():
        (output, heads), both = with_head.init_with_output(KEY, X, TIME, with_heads=True)
        return last_arrays(net.init(KEY, X, TIME)), last_arrays(both), output, heads

    params, both, output, heads = start()
    assert not np.any(output)
    assert not np.any(heads[HEADS[0]])
    assert set(both) - set(params) == set(HEADS[:1])
    jax.tree.map(np.testing.assert_array_equal, {name: both[name] for name in params}, params)


def assert_heads_leave_the_output(net):
    """Heads change neither the output nor its gradients, and have gradients of their own."""
    with_head = net.clone(extra_heads=HEADS)
    params = tiny.drawn(with_head, X, TIME)
    alone = {"params": {name: part for name, part in params["params"].items() if name not in HEADS}}

    def loss(params, x):
        out, heads = with_head.apply(params, x, TIME, KEY, with_heads=True)
        return jnp.sum(jnp.sin(out)) + sum(jnp.sum(jnp.sin(heads[name])) for name in HEADS), (out, heads)

    def loss_alone(params, x):  # without `with_heads`, also the heads' parameters are not needed
        out = with_head.apply(params, x, TIME, KEY)
        return jnp.sum(jnp.sin(out)), out

    gradients = (jax.jit(jax.grad(f, argnums=(0, 1), has_aux=True)) for f in (loss, loss_alone))
    found, without = (gradient(p, X) for gradient, p in zip(gradients, (params, alone), strict=True))
    ((by_params, by_x), (out, heads)), ((expected_by_params, expected_by_x), expected) = found, without
    by_head = [by_params["params"].pop(name) for name in HEADS]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_x, expected_by_x, rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), by_params, expected_by_params)
    assert all(float(jnp.abs(heads[name] - out).max()) > 0.1 for name in HEADS)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(by_head))

"""Score networks: one function of their parameters however they are computed, and a derivative head apart from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.network import Compute
from diffenc_jax.nets.transformer import Transformer
from diffenc_jax.nets.unet import UNet
from tests import tiny

UNET = UNet(
    width=32,
    layers=1,
    levels=0,
    groups=8,
    mid_groups=8,
    out_groups=8,
    dropout=0.3,
    fourier_bins=(4.0, 2.0),
    pixel_levels=17,
)
TRANSFORMER = Transformer(
    patch=2,
    width=8,
    layers=2,
    heads=2,
    dropout=0.3,
    fourier_bins=(4.0, 2.0),
    skip_connections=True,
    pixel_levels=17,
)
KEY = jax.random.key(0)
X = jax.random.normal(KEY, (2, 4, 4, 3))
TIME = jnp.asarray([0.2, 0.7])

networks = pytest.mark.parametrize("net", [UNET, TRANSFORMER], ids=["unet", "transformer"])


def value_and_gradient(net, params, key):
    """A scalar of the output and of its derivative in time, and the gradient of that by the parameters."""

    def loss(params):
        out, slope = jax.jvp(lambda t: net.apply(params, X, t, key), (TIME,), (jnp.ones_like(TIME),))
        return jnp.sum(jnp.sin(out)) + jnp.sum(slope**2) * 1e-3

    return jax.jit(jax.value_and_grad(loss))(params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "options"),
    [
        (UNET.clone(layers=2), dict(scan=True, remat="products")),
        (UNET.clone(levels=1), dict(remat="block")),
        (TRANSFORMER, dict(scan=True, remat="block")),
    ],
    ids=["unet", "pooled unet", "transformer"],
)
def test_scanned_and_rematerialised_equal_unrolled(net, options):
    """Under dropout, in values, derivatives in time and gradients."""
    params = tiny.parameters(net, X, TIME)
    expected, expected_gradient = value_and_gradient(net, params, KEY)
    value, gradient = value_and_gradient(net.clone(compute=Compute(**options)), params, KEY)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(expected_gradient))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * scale), gradient, expected_gradient)


@networks
def test_scanned_equals_unrolled(net):
    params = tiny.parameters(net, X, TIME)
    outputs = [jax.jit(net.clone(compute=Compute(scan=scan)).apply)(params, X, TIME, KEY) for scan in (False, True)]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)


@networks
def test_bfloat16_stays_near_float32_and_the_output_is_float32(net):
    params = tiny.parameters(net, X, TIME, 0.05)
    exact = jax.jit(net.apply)(params, X, TIME)
    rounded = jax.jit(net.clone(compute=Compute(dtype=jnp.bfloat16)).apply)(params, X, TIME)
    assert rounded.dtype == jnp.float32
    assert 0 < float(jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact)) < 0.03


@networks
def test_dropout_needs_a_key_and_depends_on_it(net):
    params = tiny.parameters(net, X, TIME)
    apply = jax.jit(net.apply)
    outputs = [apply(params, X, TIME, key) for key in (None, KEY, KEY, jax.random.key(9))]
    np.testing.assert_array_equal(outputs[1], outputs[2])
    assert not np.allclose(outputs[0], outputs[1])
    assert not np.allclose(outputs[1], outputs[3])


HEADS = ("derivative", "error")


def output_and_heads(net, key=None):
    """The output and the outputs of both heads, [3, B, H, W, C]."""

    def stacked(params, x=X):
        output, heads = net.apply(params, x, TIME, key, with_heads=True)
        return jnp.stack([output, *(heads[name] for name in HEADS)])

    return stacked


@networks
def test_outputs_are_zero_at_initialisation_and_heads_leave_the_other_parameters(net):
    with_head = net.clone(extra_heads=HEADS)

    @jax.jit
    def start():
        both = with_head.init(KEY, X, TIME)
        return net.init(KEY, X, TIME)["params"], both["params"], output_and_heads(with_head)(both)

    params, both, outputs = start()
    assert not any(np.any(out) for out in outputs)
    assert all(both.pop(name) for name in HEADS)
    jax.tree.map(np.testing.assert_array_equal, both, params)


@pytest.mark.slow
@networks
def test_heads_leave_the_output_and_its_gradient(net):
    with_head = net.clone(extra_heads=HEADS)
    params = tiny.parameters(with_head, X, TIME)
    alone = {"params": {name: part for name, part in params["params"].items() if name not in HEADS}}

    def loss(params, x):
        out, *heads = output_and_heads(with_head, KEY)(params, x)
        return jnp.sum(jnp.sin(out)) + sum(jnp.sum(jnp.sin(head)) for head in heads), (out, heads)

    def loss_alone(params, x):  # without `with_heads`, also the heads' parameters are not needed
        out = with_head.apply(params, x, TIME, KEY)
        return jnp.sum(jnp.sin(out)), out

    gradients = (jax.jit(jax.grad(f, argnums=(0, 1), has_aux=True)) for f in (loss, loss_alone))
    ((by_params, by_x), (out, heads)), ((expected_by_params, expected_by_x), expected) = (
        gradient(p, X) for gradient, p in zip(gradients, (params, alone), strict=True)
    )
    by_head = [by_params["params"].pop(name) for name in HEADS]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_x, expected_by_x, rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), by_params, expected_by_params)
    assert all(float(jnp.abs(head - out).max()) > 0.1 for head in heads)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(by_head))

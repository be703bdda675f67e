"""The U-Net: one function of its parameters however it is computed."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.conv import ImageConv, _add_taps
from diffenc_jax.nets.embeddings import fourier_features, sinusoids
from diffenc_jax.nets.unet import UNet, Unpool, max_pool

NORMS = dict(groups=8, mid_groups=8, out_groups=8, fourier_bins=())
FLAT = dict(levels=0, **NORMS)
KEY = jax.random.key(0)


def noisy(params, scale=0.1):
    """Parameters away from the zeros of initialisation, which would hide most of a network."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return structure.unflatten(
        [leaf + scale * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
    )


@pytest.fixture(scope="module")
def inputs():
    return jax.random.normal(KEY, (2, 4, 4, 3)), jnp.asarray([0.2, 0.7])


def value_and_grad(net, params, x, time, key):
    """A scalar of the output and of its derivative in time, and the gradient of that by the parameters."""

    def loss(params):
        out, slope = jax.jvp(lambda t: net.apply(params, x, t, key), (time,), (jnp.ones_like(time),))
        return jnp.sum(jnp.sin(out)) + jnp.sum(slope**2) * 1e-3

    return jax.jit(jax.value_and_grad(loss))(params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("levels", "options"),
    [
        (0, dict(scan=True)),
        (0, dict(scan=True, remat="block")),
        (0, dict(scan=True, remat="products")),
        (1, dict(remat="block")),
    ],
    ids=str,
)
def test_scanned_and_rematerialised_equal_unrolled(inputs, levels, options):
    shape = dict(width=32, layers=2 - levels, levels=levels, dropout=0.3, **NORMS)
    plain = UNet(**shape)
    params = noisy(jax.jit(plain.init)(KEY, *inputs))
    expected, expected_grads = value_and_grad(plain, params, *inputs, KEY)
    got, grads = value_and_grad(UNet(**shape, **options), params, *inputs, KEY)
    assert float(got) == pytest.approx(float(expected), rel=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(expected_grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * scale), grads, expected_grads)


def count(primitive, jaxpr):
    """How often it is called in a jaxpr and those within."""
    within = [getattr(value, "jaxpr", value) for eqn in jaxpr.eqns for value in eqn.params.values()]
    calls = sum(eqn.primitive.name == primitive for eqn in jaxpr.eqns)
    return calls + sum(count(primitive, inner) for inner in within if hasattr(inner, "eqns"))


@pytest.mark.parametrize("levels", [0, 1])
def test_what_is_kept_is_not_computed_again(inputs, levels):
    """Counted by the convolutions and the sums in the gradient; a block has two convolutions and two norms."""
    shape = dict(width=32, layers=2, levels=levels, dropout=0.3, **NORMS)
    params = jax.eval_shape(UNet(**shape).init, KEY, *inputs)

    def counts(remat):
        net = UNet(**shape, remat=remat)
        gradient = jax.grad(lambda params: jnp.sum(net.apply(params, *inputs, KEY) ** 2))
        jaxpr = jax.make_jaxpr(gradient)(params).jaxpr
        return [count(name, jaxpr) for name in ("conv_general_dilated", "reduce_sum")]

    blocks = 2 + 3 if levels == 0 else 2 + 2
    assert counts("products") == counts("none")
    # The second result of a block is not needed; two means by channel and by group in either norm are.
    np.testing.assert_array_equal(counts("block"), np.add(counts("none"), [blocks, 8 * blocks]))


def test_bfloat16_stays_near_float32_and_ends_in_it(inputs):
    shape = dict(width=32, layers=2, dropout=0.0, **FLAT | {"fourier_bins": (32.0, 16.0)})
    params = noisy(jax.jit(UNet(**shape).init)(KEY, *inputs), 0.02)
    exact = jax.jit(UNet(**shape).apply)(params, *inputs)
    rounded = jax.jit(UNet(**shape, dtype=jnp.bfloat16).apply)(params, *inputs)
    assert rounded.dtype == jnp.float32
    assert float(jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact)) < 0.03


def test_dropout_needs_a_key_and_follows_it(inputs):
    net = UNet(width=32, layers=1, dropout=0.5, **FLAT)
    params = noisy(jax.jit(net.init)(KEY, *inputs))
    apply = jax.jit(net.apply)
    outputs = [apply(params, *inputs, key) for key in (None, KEY, KEY, jax.random.key(9))]
    np.testing.assert_array_equal(outputs[1], outputs[2])
    assert not np.allclose(outputs[0], outputs[1])
    assert not np.allclose(outputs[1], outputs[3])


def test_says_nothing_at_initialisation(inputs):
    net = UNet(width=32, layers=1, dropout=0.0, **FLAT)
    assert not np.any(net.apply(net.init(KEY, *inputs), *inputs))


def test_a_second_head_leaves_the_network_as_it_is(inputs):
    """Parameters, outputs and gradients; and it is computed only where it is asked for."""
    shape = dict(width=32, layers=1, dropout=0.3, **FLAT)
    plain, net = UNet(**shape), UNet(**shape, derivative=True)
    fresh, both = (jax.jit(n.init)(KEY, *inputs)["params"] for n in (plain, net))
    head = both.pop("derivative")
    jax.tree.map(np.testing.assert_array_equal, both, fresh)

    params = {"params": noisy(fresh) | {"derivative": noisy(head)}}
    out, second = jax.jit(lambda p: net.apply(p, *inputs, KEY, with_derivative=True))(params)
    np.testing.assert_allclose(out, jax.jit(plain.apply)({"params": noisy(fresh)}, *inputs, KEY), rtol=1e-5, atol=1e-5)
    assert float(jnp.abs(second - out).max()) > 0.1
    alone, without = (str(jax.make_jaxpr(n.apply)(params, *inputs)).count("conv_general") for n in (net, plain))
    assert alone == without

    grads = jax.jit(
        jax.grad(lambda p, x: jnp.sum(jnp.sin(net.apply(p, x, inputs[1], with_derivative=True)[1])), argnums=(0, 1))
    )(params, inputs[0])
    by_head = grads[0]["params"].pop("derivative")
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(by_head))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_time_embedding_against_its_formula():
    time, width = 0.375, 8
    f = 10000.0 ** (-np.arange(4) / 3)
    expected = np.concatenate([np.sin(1000 * time * f), np.cos(1000 * time * f)])
    np.testing.assert_allclose(sinusoids(jnp.asarray([time]), width)[0], expected, atol=1e-4)


def test_fourier_features_keep_a_channels_frequencies_together():
    z = jnp.asarray([[[[0.1, -0.3]]]])
    sines = [np.sin(2 * np.pi * c * v) for v in (0.1, -0.3) for c in (1.0, 2.0)]
    cosines = [np.cos(2 * np.pi * c * v) for v in (0.1, -0.3) for c in (1.0, 2.0)]
    np.testing.assert_allclose(fourier_features(z, (1.0, 2.0))[0, 0, 0], [0.1, -0.3, *sines, *cosines], atol=1e-6)


def test_max_pool_takes_the_largest_of_four():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x)[0, :, :, 0], [[5, 7], [13, 15]])


def test_unpool_is_a_transposed_convolution(inputs):
    ours, theirs = Unpool(5, jnp.float32), nn.ConvTranspose(5, (2, 2), (2, 2))
    params = noisy(theirs.init(KEY, inputs[0]))
    fresh = ours.init(KEY, inputs[0])
    jax.tree.map(np.testing.assert_array_equal, fresh, theirs.init(KEY, inputs[0]))
    np.testing.assert_allclose(ours.apply(params, inputs[0]), theirs.apply(params, inputs[0]), atol=1e-6)


def test_the_output_layer_is_a_convolution_on_every_platform(inputs):
    ours, theirs = ImageConv(2), nn.Conv(2, (3, 3))
    params = noisy(theirs.init(KEY, inputs[0]))
    expected = theirs.apply(params, inputs[0])
    np.testing.assert_allclose(ours.apply(params, inputs[0]), expected, atol=1e-6)
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]
    np.testing.assert_allclose(bias + _add_taps(inputs[0], kernel), expected, atol=1e-6)

"""Convolutions, pooling, norms and embeddings against flax's and their formulas, in values and derivatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.conv import Conv, ImageConv, Unpool
from diffenc_jax.nets.embeddings import fourier_features, sinusoids
from diffenc_jax.nets.kernels.convolution import sum_taps
from diffenc_jax.nets.kernels.features import Features
from diffenc_jax.nets.kernels.norm import EPSILON
from diffenc_jax.nets.norms import GroupNorm
from diffenc_jax.nets.unet import max_pool
from tests import tiny

X = np.random.RandomState(0).normal(size=(2, 6, 4, 3)).astype(np.float32)


def test_convolution_is_that_of_flax():
    ours, theirs = Conv(7, Compute(jnp.bfloat16)), nn.Conv(7, (3, 3), dtype=jnp.bfloat16)
    params, others = jax.jit(lambda key: (ours.init(key, X), theirs.init(key, X)))(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, params, others)
    params = tiny.away_from_zero(params)
    np.testing.assert_array_equal(*jax.jit(lambda: (ours.apply(params, X).sum(), theirs.apply(params, X)))())


def test_output_layer_is_a_convolution_on_every_platform():
    ours, theirs = ImageConv(2, Compute()), nn.Conv(2, (3, 3))
    params = tiny.drawn(theirs, X, scale=0.3)
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]
    values = jax.jit(lambda: (theirs.apply(params, X), ours.apply(params, X), bias + sum_taps(X, kernel)))()
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], atol=1e-6)


def test_pooling_is_that_of_flax():
    """A maximum, and a transposed convolution."""
    np.testing.assert_array_equal(jax.jit(max_pool)(X), nn.max_pool(X, (2, 2), (2, 2)))
    nets = Unpool(5, Compute()), nn.ConvTranspose(5, (2, 2), (2, 2))
    ours, theirs = jax.jit(lambda key: [net.init(key, X) for net in nets])(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    params = tiny.away_from_zero(ours)
    features, image = jax.jit(lambda: [net.apply(params, X) for net in nets])()
    np.testing.assert_allclose(features.sum(), image, atol=1e-6)


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


@pytest.mark.parametrize("scale", [1000, 20])
def test_time_embedding_against_its_formula(scale):
    time, width = 0.375, 8
    f = 10000.0 ** (-np.arange(4) / 3)
    expected = np.concatenate([np.sin(scale * time * f), np.cos(scale * time * f)])
    got = jax.jit(lambda time: sinusoids(time, width, scale)[0])(np.float32([time]))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_fourier_features_keep_a_channels_periods_together():
    z = np.asarray([[[[0.1, -0.3]]]], np.float32)
    periods = (2 * 2 / 4, 1 * 2 / 4)  # 2 bins and 1 bin of 4 pixel levels
    sines = [np.sin(2 * np.pi * v / p) for v in (0.1, -0.3) for p in periods]
    cosines = [np.cos(2 * np.pi * v / p) for v in (0.1, -0.3) for p in periods]
    features = jax.jit(lambda z: fourier_features(z, (2.0, 1.0), bin_width=0.5)[0, 0, 0])(z)
    np.testing.assert_allclose(features, [0.1, -0.3, *sines, *cosines], atol=1e-6)
    np.testing.assert_array_equal(fourier_features(z, (), bin_width=0.5), z)

"""Pairs of pixels: layers and networks compute in pairs what they compute without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.conv import Conv, Dense, ImageConv, sum_taps
from diffenc_jax.nets.lanes import join, pair, unpair
from diffenc_jax.nets.network import Compute
from diffenc_jax.nets.norms import GroupNorm
from diffenc_jax.nets.unet import UNet, Unpool, max_pool
from tests import tiny

FIRST, SECOND = (jax.random.normal(jax.random.key(i), (2, 4, 6, 4)) for i in (0, 1))
FLOAT32 = jnp.float32


def agree(a, b, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), a, b)


def test_joined_arrays_are_concatenated_on_every_platform():
    expected = jnp.concatenate([FIRST, SECOND[..., :3]], axis=-1)
    for call in (join, join.__wrapped__):
        np.testing.assert_array_equal(call(FIRST, SECOND[..., :3]), expected)


@pytest.mark.parametrize("layer", [Conv, Dense])
@pytest.mark.parametrize("inputs", [(FIRST,), (FIRST, SECOND)], ids=["one", "joined"])
def test_convolutions(layer, inputs):
    x = join(*inputs) if len(inputs) > 1 else FIRST
    pairs = join(*map(pair, inputs)) if len(inputs) > 1 else pair(FIRST)
    params = tiny.away_from_zero(layer(5, FLOAT32).init(jax.random.key(2), x))
    paired = layer(5, FLOAT32, paired=True, joined=len(inputs))
    agree(unpair(paired.apply(params, pairs)), layer(5, FLOAT32).apply(params, x))


@pytest.mark.parametrize("inputs", [(FIRST,), (FIRST, SECOND)], ids=["one", "joined"])
def test_group_norm(inputs):
    norms = [GroupNorm(2, FLOAT32, swish=True, paired=paired) for paired in (False, True)]
    params = tiny.away_from_zero(norms[0].init(jax.random.key(2), *inputs))
    plain, paired = norms[0].apply(params, *inputs), norms[1].apply(params, *map(pair, inputs))
    parts = [unpair(part) for part in jnp.split(paired, len(inputs), axis=-1)]
    agree(jnp.concatenate(parts, axis=-1), plain)


def test_layers_that_end_or_begin_pairs():
    params = tiny.away_from_zero(ImageConv(3).init(jax.random.key(2), FIRST))
    expected = ImageConv(3).apply(params, FIRST)
    agree(ImageConv(3, paired=True).apply(params, pair(FIRST)), expected)
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]
    agree(bias + sum_taps(pair(FIRST), kernel, paired=True), expected)
    np.testing.assert_array_equal(max_pool(pair(FIRST), paired=True), max_pool(FIRST, paired=False))
    params = tiny.away_from_zero(Unpool(5, FLOAT32).init(jax.random.key(2), FIRST))
    agree(unpair(Unpool(5, FLOAT32, paired=True).apply(params, FIRST)), Unpool(5, FLOAT32).apply(params, FIRST))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "levels"), [(32, 0), (16, 2)])
def test_networks(width, levels):
    """Output and its derivative by the time, with dropout, and gradients of a loss of both."""
    x, t = jax.random.normal(jax.random.key(0), (2, 8, 8, 3)), jnp.asarray([0.3, 0.7])
    options = dict(width=width, layers=max(levels, 1), levels=levels, groups=8, mid_groups=8, out_groups=8, dropout=0.2)
    plain, paired = (
        UNet(**options, fourier_bins=(), compute=Compute(pairs=pairs, scan=True)) for pairs in (False, True)
    )
    params = tiny.away_from_zero(jax.jit(plain.init)(jax.random.key(1), x, t))

    def loss(params, network):
        both = jax.jvp(lambda t: network.apply(params, x, t, jax.random.key(3)), (t,), (jnp.ones_like(t),))
        return sum(jnp.mean(jnp.square(part)) for part in both), both

    derive = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    found, expected = (derive(params, network) for network in (paired, plain))
    agree(found[0], expected[0], 1e-4)
    for a, b in zip(*map(jax.tree.leaves, (found[1], expected[1])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(jnp.abs(b).max()) + 5e-6)

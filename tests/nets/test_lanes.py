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

FIRST, SECOND = np.random.RandomState(0).normal(size=(2, 2, 4, 6, 4)).astype(np.float32)
FLOAT32 = jnp.float32


def agree(a, b, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), a, b)


def test_joined_arrays_are_concatenated_on_every_platform():
    expected = np.concatenate([FIRST, SECOND[..., :3]], axis=-1)
    for found in jax.jit(lambda *parts: (join(*parts), join.__wrapped__(*parts)))(FIRST, SECOND[..., :3]):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layer", [Conv, Dense])
@pytest.mark.parametrize("inputs", [(FIRST,), (FIRST, SECOND)], ids=["one", "joined"])
def test_convolutions(layer, inputs):
    paired = layer(5, FLOAT32, paired=True, joined=len(inputs))
    params = tiny.drawn(layer(5, FLOAT32).init, np.concatenate(inputs, axis=-1))

    @jax.jit
    def both(*inputs):
        x, pairs = (join(*parts) if len(parts) > 1 else parts[0] for parts in (inputs, [*map(pair, inputs)]))
        return unpair(paired.apply(params, pairs)), layer(5, FLOAT32).apply(params, x)

    agree(*both(*inputs))


@pytest.mark.parametrize("inputs", [(FIRST,), (FIRST, SECOND)], ids=["one", "joined"])
def test_group_norm(inputs):
    norms = [GroupNorm(2, FLOAT32, swish=True, paired=paired) for paired in (False, True)]
    params = tiny.drawn(norms[0].init, *inputs)

    @jax.jit
    def both(*inputs):
        parts = jnp.split(norms[1].apply(params, *map(pair, inputs)), len(inputs), axis=-1)
        return jnp.concatenate([*map(unpair, parts)], axis=-1), norms[0].apply(params, *inputs)

    agree(*both(*inputs))


def test_layers_that_end_or_begin_pairs():
    conv, unpool = (tiny.drawn(net.init, FIRST) for net in (ImageConv(3), Unpool(5, FLOAT32)))

    @jax.jit
    def plain_and_paired(x):
        whole, pairs = ImageConv(3).apply(conv, x), ImageConv(3, paired=True).apply(conv, pair(x))
        taps = conv["params"]["bias"] + sum_taps(pair(x), conv["params"]["kernel"], paired=True)
        plain, paired = (Unpool(5, FLOAT32, paired=paired).apply(unpool, x) for paired in (False, True))
        pooled = max_pool(x, paired=False), max_pool(pair(x), paired=True)
        return [(whole, pairs), (whole, taps), pooled, (plain, unpair(paired))]

    for plain, paired in plain_and_paired(FIRST):
        agree(paired, plain)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "levels"), [(32, 0), (16, 2)])
def test_networks(width, levels):
    """Output and its derivative by the time, with dropout, and gradients of a loss of both."""
    x, t = jax.random.normal(jax.random.key(0), (2, 8, 8, 3)), jnp.asarray([0.3, 0.7])
    options = dict(width=width, layers=max(levels, 1), levels=levels, groups=8, mid_groups=8, out_groups=8, dropout=0.2)
    plain, paired = (
        UNet(**options, fourier_bins=(), compute=Compute(pairs=pairs, scan=True)) for pairs in (False, True)
    )
    params = tiny.drawn(plain.init, x, t, scale=0.1)

    def loss(params, network):
        both = jax.jvp(lambda t: network.apply(params, x, t, jax.random.key(3)), (t,), (jnp.ones_like(t),))
        return sum(jnp.mean(jnp.square(part)) for part in both), both

    derive = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    found, expected = (derive(params, network) for network in (paired, plain))
    agree(found[0], expected[0], 1e-4)
    for a, b in zip(*map(jax.tree.leaves, (found[1], expected[1])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(jnp.abs(b).max()) + 5e-6)

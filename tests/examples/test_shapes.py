"""examples/shapes: its network with the shapes that the package has is the package's network."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.nets.unet import UNet
from tests import tiny
from tests.nets.contract import TIME, X

PACKAGE = "shapes"
SIZES = dict(width=16, groups=8, fourier_bins=(2.0,), bin_width=2 / 17)


def shaped(**shape):
    return importlib.import_module("shapes.network").Shaped(**SIZES, **shape)


def test_one_pooling_is_the_packages_unet():
    unet = UNet(**SIZES, layers=2, levels=1, mid_groups=8, out_groups=8, dropout=0.0)
    params = tiny.drawn(unet, X, TIME)
    same = shaped(blocks=(2,), channels=(1,), pools=1)
    np.testing.assert_array_equal(same.apply(params, X, TIME), unet.apply(params, X, TIME))


@pytest.mark.parametrize(
    "shape",
    [
        dict(blocks=(1, 1), channels=(1, 2), pooling="mean", attention_at="pooled"),
        dict(blocks=(1,), channels=(2,), pools=1, pooling="patches", skips="block", heads=4),
        dict(blocks=(2,), channels=(1,), stem=2, attention_at="none"),
    ],
)
def test_each_choice_reaches_the_output(shape):
    """Every parameter of a shape has a gradient, and the output depends on every pixel."""
    net = shaped(**shape)
    params = tiny.drawn(net, X, TIME)
    by_params, by_x = jax.grad(lambda p, x: jnp.sum(jnp.sin(net.apply(p, x, TIME))), (0, 1))(params, X)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(by_params))
    assert np.all(by_x)


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(InputError, match="equally long"):
        shaped(blocks=(1, 1), channels=(1,)).check("model.score", (8, 8, 1))
    with pytest.raises(InputError, match="multiples of 4"):
        shaped(blocks=(1,), channels=(1,), stem=2, pools=1).check("model.score", (6, 8, 1))

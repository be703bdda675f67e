"""The transformer: where patches go, and which tokens and blocks depend on which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.transformer import Transformer, from_patches, to_patches
from tests import tiny

NET = Transformer(patch=2, width=8, layers=1, heads=2, dropout=0.0, fourier_bins=(), skip_connections=False)
X = np.random.RandomState(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
TIME = np.asarray([0.2, 0.7], np.float32)
apply = jax.jit(NET.apply)


@pytest.fixture(scope="module")
def params():
    return tiny.drawn(NET, X, TIME, scale=0.3)


def test_patches_are_squares_row_by_row():
    there_and_back = jax.jit(lambda x: (to_patches(x, (2, 2)), from_patches(to_patches(x, (2, 2)), x.shape, (2, 2))))
    patches, again = map(np.asarray, there_and_back(X))
    for row in range(2):
        for column in range(3):
            square = X[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(patches[:, 3 * row + column], square.reshape(2, -1))
    np.testing.assert_array_equal(again, X)


def changed(params):
    """Pixels of the output, [H, W], that depend on the patch at row 1, column 2 of the input."""
    other = X.copy()
    other[:, 2:4, 4:6] += 1.0
    first, second = (np.asarray(apply(params, image, TIME)) for image in (X, other))
    return np.abs(first - second).max(axis=(0, 3)) > 1e-6


def test_without_attention_a_patch_depends_on_itself_alone(params):
    blocks = params["params"]["blocks"]["blocks"]
    zeros = jax.tree.map(np.zeros_like, blocks["attention"]["out"])
    without = blocks | {"attention": blocks["attention"] | {"out": zeros}}
    alone = {"params": params["params"] | {"blocks": {"blocks": without}}}
    itself = np.zeros((4, 6), bool)
    itself[2:4, 4:6] = True
    np.testing.assert_array_equal(changed(alone), itself)
    assert changed(params).all()


def test_patches_and_positions_permute_together(params):
    """Permuting patches and positions permutes the output; permuting patches alone does not."""
    order = np.random.RandomState(0).permutation(6)
    shuffle = jax.jit(lambda x: from_patches(to_patches(x, (2, 2))[:, order], x.shape, (2, 2)))
    moved = {"params": params["params"] | {"positions": np.asarray(params["params"]["positions"])[order]}}
    expected = shuffle(apply(params, X, TIME))
    np.testing.assert_allclose(apply(moved, shuffle(X), TIME), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(apply(params, shuffle(X), TIME), expected, atol=1e-2)


@pytest.mark.slow
def test_skip_connections_are_in_reverse_order():
    """Blocks that the output depends on if a joined block takes its skip alone, or its input alone."""
    net = NET.clone(layers=5, skip_connections=True, fourier_bins=(4.0,))
    params = tiny.drawn(net, X, TIME, scale=0.3)["params"]
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(net.apply({"params": params}, X, TIME)))))

    def used_blocks(keep_inputs, keep_skips):
        """Which of three plain and two joined blocks have a gradient if only these joined inputs are kept."""
        kernel = params["joined_blocks"]["blocks"]["shortcut"]["kernel"]
        kept = jnp.repeat(jnp.asarray([keep_inputs, keep_skips], kernel.dtype).T, NET.width, axis=1)
        changed = jax.tree.map(lambda a: a, params)
        changed["joined_blocks"]["blocks"]["shortcut"]["kernel"] = kernel * kept[..., None]
        gradients = gradient(changed)
        chains = [gradients[name]["blocks"]["dense_1"]["kernel"] for name in ("blocks", "joined_blocks")]
        return [bool(np.any(block)) for chain in chains for block in chain]

    assert used_blocks(keep_inputs=[1, 0], keep_skips=[1, 1]) == [True, False, False, False, True]
    assert used_blocks(keep_inputs=[0, 1], keep_skips=[1, 0]) == [True, True, False, True, True]
    assert used_blocks(keep_inputs=[1, 1], keep_skips=[1, 1]) == [True] * 5

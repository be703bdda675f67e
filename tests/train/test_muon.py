"""The matrices that Muon takes, their changes against singular values, and its steps against the same in numpy."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from diffenc_jax.train.muon import are_matrices, orthogonal_factors, orthogonalized
from diffenc_jax.train.optimizers import make_optimizer
from diffenc_jax.train.program import decayed
from tests import tiny

RNG = np.random.RandomState(0)
MUON = {"kind": "muon", "momentum": 0.9, "b1": 0.9, "b2": 0.99, "epsilon": 1e-8, "weight_decay": 0.3}


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


KERNELS = [
    ("mid_0/conv_0", drawn(3, 3, 4, 8), (1, 36, 8)),
    ("down/blocks/conv_1", drawn(5, 3, 3, 4, 4), (5, 36, 4)),
    ("up/blocks/shortcut", drawn(2, 6, 3), (2, 6, 3)),
    ("blocks/blocks/attention/query", drawn(2, 6, 3, 4), (2, 6, 12)),
    ("blocks/blocks/attention/out", drawn(2, 3, 4, 6), (2, 12, 6)),
]


@pytest.mark.parametrize(("path", "kernel", "shape"), KERNELS)
def test_an_update_has_the_singular_vectors_of_its_matrix_and_singular_values_near_one(path, kernel, shape):
    path, of_equal_size = f"score/{path}/kernel", {"score/mid_1/conv_0/kernel": 2 * drawn(3, 3, 4, 8)}
    change = jax.jit(orthogonalized)(unflatten_dict({path: kernel} | of_equal_size, sep="/"))
    change = np.asarray(flatten_dict(change, sep="/")[path])
    assert change.shape == kernel.shape
    factors = change.reshape(shape) / np.sqrt(max(shape[1:]) / min(shape[1:]))
    for matrix, factor in zip(kernel.reshape(shape), factors, strict=True):
        u, _, v = np.linalg.svd(matrix, full_matrices=False)
        values = u.T @ factor @ v.T
        np.testing.assert_allclose(values, np.diag(np.diag(values)), atol=1e-4)
        assert np.all((np.diag(values) > 0.68) & (np.diag(values) < 1.21))


def test_a_change_does_not_depend_on_the_size_of_the_momentum():
    """Without a momentum there is no change; where float32 loses the squares of its entries, no larger one."""
    matrix, scales = drawn(6, 36), (1, 1e-8, 1e-16, 1e16, 1e-30, 0)
    whole, *scaled, lost, of_zeros = orthogonal_factors(np.stack([np.float32(scale) * matrix for scale in scales]))
    for change in scaled:
        np.testing.assert_allclose(change, whole, atol=1e-5)
    assert np.abs(lost).max() <= np.abs(whole).max()
    np.testing.assert_array_equal(of_zeros, 0.0)


def test_steps_are_those_of_the_paper():
    """Three steps, with a warm-up over two: momentum with Nesterov's correction, and decay. The bias is AdamW's."""
    config = tiny.config(train__optimizer=MUON).train
    optimizers = [make_optimizer(each.train, decayed) for each in (tiny.config(train__optimizer=MUON), tiny.config())]
    params = {"score": {"conv_0": {"kernel": drawn(3, 3, 4, 8), "bias": drawn(8)}}}
    w, momentum, states = params["score"]["conv_0"]["kernel"], 0.0, [each.init(params) for each in optimizers]
    for k in range(3):
        grads = jax.tree.map(lambda leaf: drawn(*leaf.shape), params)
        steps = [each.update(grads, state, params) for each, state in zip(optimizers, states, strict=True)]
        (updates, _), (adamws, _) = steps
        np.testing.assert_allclose(*(each["score"]["conv_0"]["bias"] for each in (updates, adamws)), rtol=1e-6)
        params, states = jax.tree.map(np.add, params, updates), [state for _, state in steps]
        g, rate = grads["score"]["conv_0"]["kernel"], config.learning_rate * min(k / 2, 1)
        momentum = 0.9 * momentum + g
        x = (g + 0.9 * momentum).reshape(36, 8).astype(np.float64)
        x /= np.linalg.norm(x)
        for _ in range(5):
            square = x.T @ x
            x = x @ (3.4445 * np.eye(8) - 4.7750 * square + 2.0315 * square @ square)
        w = w - rate * (np.sqrt(36 / 8) * x.reshape(3, 3, 4, 8) + 0.3 * w)
    np.testing.assert_allclose(params["score"]["conv_0"]["kernel"], w, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("small", [False, True], ids=["unet", "transformer"])
def test_embeddings_first_and_last_layers_are_left_to_adamw(small):
    """And norms, biases and positions; all other kernels are matrices of Muon."""
    left = {
        *(f"time/dense_{i}/{name}" for i in (0, 1) for name in ("kernel", "bias")),
        *(("embed/kernel", "out/kernel", "cond_out/kernel") if small else ("conv_in/kernel", "conv_out/kernel")),
    }
    params = jax.eval_shape(tiny.model(tiny.config("vdm", small)).init, jax.random.key(0))
    for path, is_matrix in flatten_dict(are_matrices(params)["score"], sep="/").items():
        assert is_matrix == (path.endswith("/kernel") and path not in left), path

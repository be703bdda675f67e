"""Muon: momentum whose matrices are made nearly orthogonal."""

import math
import re
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from diffenc_jax.core.keys import FRACTION, key
from diffenc_jax.model import Params
from diffenc_jax.parallel import sharding
from diffenc_jax.train.optimizers import AdamW, Decayed, Transformation

# Paths of kernels that are left to AdamW: embeddings, first and last layers.
OUTER = re.compile(r"/(time|embed|conv_in|conv_out|cond_out|gains|logits)/|(?<!attention)/out/")
COEFFICIENTS, STEPS = (3.4445, -4.7750, 2.0315), 5  # of Newton and Schulz's iteration, as published for Muon

_name = partial(jax.tree_util.keystr, simple=True, separator="/")  # of a kernel, by its path


@dataclass(frozen=True)
class Muon(AdamW):
    """Muon (arXiv 2502.16982, section 2.1) for the matrices of the networks' blocks, AdamW for all other parameters.

    A matrix W [m, n] of m inputs and n outputs changes by -rate (√(max(m, n) / min(m, n)) O + weight_decay W). O has
    the singular vectors of the momentum M. Five steps of Newton and Schulz, X <- 3.4445 X - 4.7750 (X Xᵀ) X + 2.0315
    (X Xᵀ)² X from M / ‖M‖, bring all singular values above 0.002 ‖M‖ between 0.68 and 1.21.

    The singular values of a change do not depend on the width of a network. By arXiv 2310.17813 (condition 1) neither
    do its changes of the outputs, so one learning rate fits all widths: on the digits, the best rates of widths 16 to
    128 differ by less than a factor of 1.5. With the factor 0.2 √max(m, n) of equation 4 they fall like 1 / √width.

    A convolution's matrix has 9 C inputs.
    """

    momentum: float = key(0.95, "Decay rate of the momentum of matrices, with Nesterov's correction.", limits=FRACTION)

    def transformation(self, rate: optax.Schedule, decayed: Decayed, mesh: Mesh | None) -> Transformation:
        muon = optax.chain(
            optax.trace(self.momentum, nesterov=True),
            optax.stateless(lambda updates, _: orthogonalized(updates, mesh)),
            optax.add_decayed_weights(self.weight_decay, decayed),
            optax.scale_by_learning_rate(rate),
        )
        return optax.partition({True: muon, False: super().transformation(rate, decayed, mesh)}, are_matrices)


def are_matrices(params: Params) -> Params:
    """For each of `params`, whether Muon changes it: kernels of blocks."""

    def is_matrix(path: Any, _: jax.Array) -> bool:
        name = _name(path)
        return name.endswith("/kernel") and OUTER.search(name) is None

    return jax.tree_util.tree_map_with_path(is_matrix, params)


def orthogonalized(updates: Params, mesh: Mesh | None = None) -> Params:
    """√(max(m, n) / min(m, n)) O for each matrix [m, n] of a tree of kernels, see `Muon`.

    Matrices of the same size are stacked, and devices that share a copy of the parameters divide the stack.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(updates)
    shapes = [matrix_shape(path, kernel.shape) for path, kernel in leaves]
    changes: dict[int, jax.Array] = {}
    for size in dict.fromkeys(shape[1:] for shape in shapes):
        own = [i for i, shape in enumerate(shapes) if shape[1:] == size]
        stack = jnp.concatenate([leaves[i][1].reshape(shapes[i]) for i in own])
        change = math.sqrt(max(size) / min(size)) * sharding.by_entry(mesh, orthogonal_factors, stack)
        changes |= zip(own, jnp.split(change, np.cumsum([shapes[i][0] for i in own])[:-1]), strict=True)
    return jax.tree.unflatten(structure, [changes[i].reshape(kernel.shape) for i, (_, kernel) in enumerate(leaves)])


def orthogonal_factors(stack: jax.Array) -> jax.Array:
    """Nearly orthogonal factors O of matrices [N, m, n], see `Muon`.

    The polynomials of a step depend only on X Xᵀ: X_5 = P_5 ... P_1 X_0 with P_k = a + b G_k + c G_k² and
    G_{k+1} = P_k G_k P_k, all of the smaller side. As compiled for an H100, a step of `cifar10:vdm-8` with 128 images
    moves 1.02 times the bytes of AdamW's step. `optax.contrib.scale_by_muon` computes every X_k: 1.06 times the bytes.

    The factors do not depend on the scale of a matrix, unless its norm is below 1e-18, where float32 loses the squares
    of its entries. The factor of zeros is zero.
    """
    x = stack if stack.shape[1] <= stack.shape[2] else stack.swapaxes(1, 2)
    x /= jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x), axis=(1, 2), keepdims=True)), 1e-18)
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGH)  # P_5 ... P_1 has singular values of up to 485
    gram, one, steps = product(x, x.swapaxes(1, 2)), jnp.eye(x.shape[1]), []
    for _ in range(STEPS):
        steps.append(COEFFICIENTS[0] * one + COEFFICIENTS[1] * gram + COEFFICIENTS[2] * product(gram, gram))
        gram = product(product(steps[-1], gram), steps[-1])
    x = product(reduce(product, steps), x)  # polynomials of one matrix, in any order
    return x if x.shape == stack.shape else x.swapaxes(1, 2)


def matrix_shape(path: Any, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Number of matrices of a kernel, of their inputs and of their outputs.

    Kernels of a `Chain` are stacked along their first axis. The last axis is that of the outputs; those of the queries,
    keys and values of an attention with several heads have two.
    """
    name = _name(path)
    first = int("/blocks/" in name)
    last = first + 1 if re.search("/(query|key|value)/", name) else len(shape) - 1
    return math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])

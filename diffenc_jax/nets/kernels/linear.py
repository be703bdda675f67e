"""Linear maps with a transpose of their own, for derivatives that JAX cannot transpose or would transpose slowly."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Tree = Any
Map = Callable[[Tree, Tree], Tree]


def linear_map(f: Map, transpose: Map, constants: Tree, x: Tree) -> Tree:
    """f(constants, x), linear in x; its transpose is transpose(constants, cotangents of the result).

    Both are differentiated by `constants` as functions of them. Unlike `jax.custom_derivatives.linear_call` this allows
    that, and `jax.vmap`.
    """
    leaves, structure = jax.tree.flatten(constants)
    operands, in_tree = jax.tree.flatten(x)
    out_tree = jax.tree.structure(jax.eval_shape(f, constants, x))

    def flat(f, tree):
        def g(*arrays):
            constants = jax.tree.unflatten(structure, arrays[: len(leaves)])
            return jax.tree.leaves(f(constants, jax.tree.unflatten(tree, arrays[len(leaves) :])))

        return g

    maps = flat(f, in_tree), flat(transpose, out_tree)
    return jax.tree.unflatten(out_tree, _linear.bind(*leaves, *operands, maps=maps, constants=len(leaves)))


_linear = Primitive("linear_map")
_linear.multiple_results = True


def _apply(*arrays, maps, constants):
    return maps[0](*arrays)


def _shapes(*arrays, maps, constants):
    return [jax.core.ShapedArray(a.shape, a.dtype) for a in jax.eval_shape(maps[0], *arrays)]


def _derivative(primals, tangents, *, maps, constants):
    apply = partial(_linear.bind, maps=maps, constants=constants)
    fixed, dots = primals[:constants], tuple(map(ad.instantiate_zeros, tangents))
    if all(type(tangent) is ad.Zero for tangent in tangents[:constants]):
        return apply(*primals), apply(*fixed, *dots[constants:])
    return jax.jvp(maps[0], tuple(primals), dots)


def _transpose(cotangents, *arrays, maps, constants):
    given = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    bars = _linear.bind(*arrays[:constants], *given, maps=maps[::-1], constants=constants)
    wanted = map(ad.is_undefined_primal, arrays[constants:])
    return [None] * constants + [bar if is_wanted else None for is_wanted, bar in zip(wanted, bars, strict=True)]


def _batched(arrays, axes, *, maps, constants):
    size = next(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None)

    def first(number, array, axis):
        if axis is not None:
            return jnp.moveaxis(array, axis, 0)
        return array if number < constants else jnp.broadcast_to(array, (size, *array.shape))

    arrays = [first(*each) for each in zip(range(len(arrays)), arrays, axes, strict=True)]
    fixed = tuple(None if axis is None else 0 for axis in axes[:constants])

    def batched(f):
        return lambda *arrays: jax.vmap(f, fixed + (0,) * (len(arrays) - constants))(*arrays)

    results = _linear.bind(*arrays, maps=tuple(map(batched, maps)), constants=constants)
    return results, [0] * len(results)


_linear.def_impl(_apply)
_linear.def_abstract_eval(_shapes)
ad.primitive_jvps[_linear] = _derivative
ad.primitive_transposes[_linear] = _transpose
batching.primitive_batchers[_linear] = _batched
mlir.register_lowering(_linear, mlir.lower_fun(_apply, multiple_results=True))

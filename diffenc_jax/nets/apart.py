"""A computation that XLA's CPU compiler keeps by itself."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp


def apart(f: Callable[[Any], Any], x: Any) -> Any:
    """f(x), on a CPU fused with nothing before or after it.

    XLA would else fuse slices of one array with what takes each, and compile for every layer anew what alike layers can
    share: for 8 layers a quarter of all that it compiles. Both sides of a condition are the same; it does not look.
    """

    def both(x):
        return jax.lax.cond(jax.tree.leaves(x)[0].ravel()[0] > 0, f, f, x)

    return jax.lax.platform_dependent(x, cpu=both, default=f)


def unknown(numbers: Iterable[int], of: jax.Array) -> list[jax.Array]:
    """The numbers, which XLA does not know, so that one kernel serves all of them; wrong if `of` starts with a NaN."""
    nought = jnp.isnan(of.ravel()[0]).astype(jnp.int32)
    return [nought + number for number in numbers]

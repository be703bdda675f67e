"""A computation that XLA keeps by itself."""

from collections.abc import Callable
from typing import Any

import jax


def apart(f: Callable[[Any], Any], x: Any) -> Any:
    """f(x), fused with nothing before or after it.

    XLA would else fuse slices of one array with what takes each, and compile for every layer anew what alike layers can
    share: for 8 layers a quarter of all that it compiles. Both sides of a condition are the same; it does not look.
    """
    return jax.lax.cond(jax.tree.leaves(x)[0].ravel()[0] > 0, f, f, x)

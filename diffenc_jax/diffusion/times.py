"""Which times a batch is trained on, and where the steps of a finite depth begin and end."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def antithetic(u: Float[Array, ""], batch_size: int) -> Float[Array, " b"]:
    """t_j = (u + j / B) mod 1 for the global batch: each t uniform, together evenly spread.

    arXiv 2107.00630, appendix I.
    """
    return jnp.mod(u + jnp.arange(batch_size, dtype=u.dtype) / batch_size, 1.0)


def best_times(cost: Float[np.ndarray, "n n"], depth: int) -> Int[np.ndarray, " m"]:
    """The `depth` steps from the first of N points to the last that cost least in all.

    The bound at finite depth is a sum over steps, so the best choice among given points is a
    shortest path of `depth` edges: best_k(t) = min_s best_(k-1)(s) + cost[s, t], exactly, in
    depth · N² operations. Gradients would stop at a local optimum and call the networks on the way.

    Args:
      cost: cost[s, t] of the step from point t to point s < t, in any unit; inf where there is none.
      depth: at most N - 1.

    Returns:
      The depth + 1 points, increasing, from 0 to N - 1.
    """
    n = len(cost)
    best = np.where(np.arange(n) == 0, 0.0, np.inf)
    previous = []
    for _ in range(depth):
        through = best[:, None] + cost
        previous.append(through.argmin(axis=0))
        best = through.min(axis=0)
    points = [n - 1]
    for choice in reversed(previous):
        points.append(int(choice[points[-1]]))
    return np.asarray(points[::-1])

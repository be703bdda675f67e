"""Times at which a loss is evaluated, and where the steps of a finite depth begin and end."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffenc_jax.diffusion.arrays import PerExample, Scalar


def antithetic(u: Scalar, batch_size: int) -> PerExample:
    """t_j = (u + j / B) mod 1 for the global batch: each t uniform, together evenly spread.

    arXiv 2107.00630, appendix I.
    """
    return jnp.mod(u + jnp.arange(batch_size, dtype=u.dtype) / batch_size, 1.0)


def by_density(mass: Float[Array, " n"], s: PerExample) -> tuple[PerExample, PerExample]:
    """t = Q^-1(s) and the weight 1 / q(t), both [B], for importance sampling of times.

    The density q on [0, 1) is constant on each of N equal cells, and Q is its distribution function. For s ~ U(0, 1)
    the mean of weight · f(t) is the mean of f over U(0, 1), for all f and all q > 0.

    Args:
      mass: probability of each cell, positive, with sum 1.
    """
    cells = mass.shape[0]
    above = jnp.cumsum(mass)
    cell = jnp.minimum(jnp.searchsorted(above, s, side="right"), cells - 1)
    here = mass[cell]
    within = jnp.clip((s - (above[cell] - here)) / here, 0.0, 1.0 - jnp.finfo(s.dtype).eps)
    return (cell + within) / cells, 1.0 / (cells * here)


# Share of the probability that is spread evenly over the cells, so that no weight exceeds 1 / DEFENSIVE.
DEFENSIVE = 0.05
# Masses are multiples of about 1 / QUANTA, so that tables computed on different devices agree despite rounding.
QUANTA = 4096


def best_mass(square: Float[Array, " n"]) -> Float[Array, " n"]:
    """Mass of each cell for which an estimate of E f has the least variance, from E f² per cell.

    With t ~ q the variance is ∫ E f(t)² / q(t) dt - (E f)², least for q proportional to sqrt(E f(t)²). That density is
    mixed with the uniform one (`DEFENSIVE`), since the table is an estimate. It is uniform if f is 0 everywhere.
    """
    root = jnp.sqrt(jnp.where(square.sum() > 0, square, 1.0))
    return (1 - DEFENSIVE) * (root / root.sum()) + DEFENSIVE / len(root)


def best_density(square: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """`best_mass` in multiples of about 1 / `QUANTA`."""
    quanta = np.maximum(np.round(np.asarray(best_mass(jnp.asarray(square, jnp.float32)), np.float64) * QUANTA), 1)
    return quanta / quanta.sum()


def best_times(cost: Float[np.ndarray, "n n"], depth: int) -> Int[np.ndarray, " m"]:
    """The `depth` steps from the first of N points to the last with the least total cost.

    The bound at finite depth is a sum over steps, so the best choice among given points is a shortest path of `depth`
    edges: best_k(t) = min_s best_(k-1)(s) + cost[s, t], exactly, in depth · N² operations. A search by gradients would
    stop at a local optimum, and would call the networks in each of its steps.

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

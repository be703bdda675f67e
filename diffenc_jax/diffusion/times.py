"""Which times a loss is looked at, and where the steps of a finite depth begin and end."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# How times are drawn, in training and in evaluation: by a density that follows the loss, or by the uniform one.
TIME_SAMPLING = ("importance", "uniform")


def antithetic(u: Float[Array, ""], batch_size: int) -> Float[Array, " b"]:
    """t_j = (u + j / B) mod 1 for the global batch: each t uniform, together evenly spread.

    arXiv 2107.00630, appendix I.
    """
    return jnp.mod(u + jnp.arange(batch_size, dtype=u.dtype) / batch_size, 1.0)


def systematic(u: Float[Array, " b"], j: Int[Array, ""], strata: Int[Array, ""]) -> Float[Array, " b"]:
    """(u + j / strata) mod 1: over j = 0 .. strata - 1 one point in each stratum, each of them uniform if u is."""
    return jnp.mod(u + j / strata, 1.0)


class TimeDensity(NamedTuple):
    """A density of t on [0, 1) that is constant on N equal cells, for importance sampling.

    Attributes:
      mass: [N] probability of each cell; positive, of sum 1.
    """

    mass: Float[Array, " n"]

    def at(self, s: Float[Array, " b"]) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
        """t = Q^-1(s), Q being the distribution function, and the weight 1 / q(t), both [B].

        For s ~ U(0, 1) the mean of weight · f(t) is that of f over U(0, 1), whatever f and q > 0 are.
        """
        cells = self.mass.shape[0]
        above = jnp.cumsum(self.mass)
        cell = jnp.minimum(jnp.searchsorted(above, s, side="right"), cells - 1)
        mass = self.mass[cell]
        within = jnp.clip((s - (above[cell] - mass)) / mass, 0.0, 1.0 - jnp.finfo(s.dtype).eps)
        return (cell + within) / cells, 1.0 / (cells * mass)


# A part of every cell's probability does not depend on the table, so that no weight exceeds 1 / DEFENSIVE.
DEFENSIVE = 0.05
# Masses are multiples of about 1 / QUANTA: a table computed on other devices, equal but for rounding, gives the same.
QUANTA = 4096


def best_mass(square: Float[Array, " n"]) -> Float[Array, " n"]:
    """The mass of each cell for which an estimate of E f has the least variance, from E f² by cell.

    With t ~ q the variance is ∫ E f(t)² / q(t) dt - (E f)², least for q proportional to
    sqrt(E f(t)²). Mixed with the uniform density (`DEFENSIVE`), since the table is an estimate.
    """
    root = jnp.sqrt(square)
    total = root.sum()
    best = jnp.where(total > 0, root / jnp.where(total > 0, total, 1.0), 1 / len(root))
    return (1 - DEFENSIVE) * best + DEFENSIVE / len(root)


def best_density(square: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """`best_mass` in multiples of about 1 / `QUANTA`."""
    quanta = np.maximum(np.round(np.asarray(best_mass(jnp.asarray(square, jnp.float32)), np.float64) * QUANTA), 1)
    return quanta / quanta.sum()


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

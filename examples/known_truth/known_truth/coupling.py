"""Exact draws of the Ising model by coupling from the past, which is read once (Wilson, arXiv math/9905003).

Each spin in turn is drawn given its neighbours s': it is 1 if u < 1 / (1 + exp(-2 b Σ s')). Under common numbers u this
keeps the order of states: where the start of all 1 and that of all -1 have met, all starts have met. A block is a
number of such sweeps, long enough for about half of all blocks to make them meet. The state before a block in which
they meet is then an exact draw, if an earlier block has made them meet, and independent of the draws before.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

CHAINS = 250


def draw(seed: int, b: float, side: int, count: int) -> np.ndarray:
    """Independent states, int8 [count, side, side] with the values -1 and 1, on a torus with an even side."""
    chains = min(count, CHAINS)
    drawn: list[list[np.ndarray]] = [[] for _ in range(chains)]
    states, started = np.ones((side, side, chains), np.int8), np.zeros(chains, bool)
    sweeps, key, each = round(1.1 * side**2.17), jax.random.key(seed), -(-count // chains)
    while min(map(len, drawn)) < each:
        key, own = jax.random.split(key)
        highest, lowest, after = np.asarray(_block(own, b, states, sweeps))
        met = (highest == lowest).all(axis=(0, 1))
        for chain in np.flatnonzero(met & started):
            drawn[chain].append(states[..., chain])
        states, started = after, started | met
    return np.concatenate([of_chain[:each] for of_chain in drawn])[:count]


@partial(jax.jit, static_argnames="sweeps")
def _block(key: jax.Array, b: float, states: jax.Array, sweeps: int) -> jax.Array:
    """States [3, L, L, N] after a block: from all 1, from all -1, and from `states`, under common numbers."""
    colour = jnp.indices(states.shape[:2]).sum(axis=0)[..., None] % 2

    def sweep(spins: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        u = jax.random.uniform(key, states.shape)
        least = (jnp.log(u) - jnp.log1p(-u)) / (2 * b)  # sum of neighbours above which a spin is 1
        for own in (0, 1):  # the neighbours of one colour of a chessboard have the other
            neighbours = sum(jnp.roll(spins, shift, axis) for shift in (1, -1) for axis in (1, 2))
            spins = jnp.where(colour == own, jnp.where(neighbours > least, 1, -1).astype(jnp.int8), spins)
        return spins, None

    starts = jnp.stack([jnp.ones_like(states), -jnp.ones_like(states), states])
    return jax.lax.scan(sweep, starts, jax.random.split(key, sweeps))[0]

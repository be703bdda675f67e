"""Exact draws of the Ising model by coupling from the past, which is read once (Wilson, arXiv math/9905003).

Each spin in turn is drawn given its neighbours s': it is 1 if u < 1 / (1 + exp(-2 b Σ s')). Under common numbers u this
keeps the order of states: where the start of all 1 and that of all -1 have met, all starts have met. A block is a
number of such sweeps, long enough for about half of all blocks to make them meet. The state before a block in which
they meet is then an exact draw, if an earlier block has made them meet, and independent of the draws before.

A bit is 1 for the spin 1, and each word has the bits of one place in 32 chains.
"""

from functools import partial, reduce
from operator import and_, or_

import jax
import jax.numpy as jnp
import numpy as np

COUPLING = 0.5 * np.log1p(np.sqrt(2.0))  # b, critical
BITS, WORDS = 32, 8


def by_coupling(rng: np.random.Generator, side: int, count: int) -> np.ndarray:
    """Independent states, uint8 [count, side, side, 1] with 1 for the spin 1, on a torus with an even side."""
    states, started = np.zeros((side, side, WORDS), np.uint32), np.zeros(WORDS * BITS, bool)
    drawn: list[list[np.ndarray]] = [[] for _ in started]
    sweeps, key, each = round(1.6 * side**2.17), jax.random.key(rng.integers(2**31)), -(-count // len(drawn))
    while min(map(len, drawn)) < each:
        key, own = jax.random.split(key)
        highest, lowest, after = np.asarray(_block(own, states, sweeps))
        met = ~_by_chain(highest ^ lowest).any(axis=(0, 1))
        before, states = _by_chain(states), after
        for chain in np.flatnonzero(met & started):
            drawn[chain].append(before[..., chain])
        started |= met
    return np.concatenate([of_chain[:each] for of_chain in drawn])[:count, ..., None]


def _by_chain(words: np.ndarray) -> np.ndarray:
    """The bits, uint8 [L, L, 32 W], of words [L, L, W]."""
    return np.unpackbits(words.view(np.uint8), axis=-1)


@partial(jax.jit, static_argnames="sweeps")
def _block(key: jax.Array, states: jax.Array, sweeps: int) -> jax.Array:
    """States [3, L, L, W] after a block: from all 1, from all -1, and from `states`, under common numbers."""
    colour = jnp.indices(states.shape[:2]).sum(axis=0)[..., None] % 2
    chances = jax.nn.sigmoid(2 * COUPLING * jnp.arange(-4.0, 5.0, 2.0))  # p(1) if 0, 1, ..., 4 neighbours are 1

    def sweep(spins: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        u = jax.random.uniform(key, (*states.shape, BITS))
        by_count = [jnp.sum((u < p) << jnp.arange(BITS, dtype=jnp.uint32), -1, jnp.uint32) for p in chances]
        for own in (0, 1):  # the neighbours of one colour of a chessboard have the other
            spins = jnp.where(colour == own, _drawn(spins, *by_count), spins)
        return spins, None

    starts = jnp.stack([jnp.full_like(states, 2**BITS - 1), jnp.zeros_like(states), states])
    return jax.lax.scan(sweep, starts, jax.random.split(key, sweeps))[0]


def _drawn(spins: jax.Array, *by_count: jax.Array) -> jax.Array:
    """Spins given their neighbours: 1 where `by_count[n]`, which grows with n, is 1 for the n neighbours that are 1."""
    up, down, left, right = (jnp.roll(spins, shift, axis) for axis in (1, 2) for shift in (1, -1))
    one, two, one_more, two_more = up | down, up & down, left | right, left & right  # at least as many of a pair
    at_least = [~jnp.uint32(0), one | one_more, two | two_more | one & one_more]
    at_least += [two & one_more | one & two_more, two & two_more]
    return reduce(or_, map(and_, at_least, by_count))

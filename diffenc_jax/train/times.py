"""The times that a training step looks at: spread evenly, or drawn where the loss has been large."""

import flax
import jax
import jax.numpy as jnp

from diffenc_jax.diffusion.times import TimeDensity, best_mass

# Cells of t on each of which the density is constant; what was seen so many steps ago counts 1/e.
CELLS, MEMORY = 32, 50


@flax.struct.dataclass
class LossByTime:
    """What past steps saw of the diffusion term by cell of t, the longer ago the less. Part of the state.

    Attributes:
      squares: [CELLS] sum of its squares, nats², and
      examples: [CELLS] their number.
    """

    squares: jax.Array
    examples: jax.Array

    @classmethod
    def empty(cls) -> "LossByTime":
        return cls(jnp.zeros(CELLS, jnp.float32), jnp.zeros(CELLS, jnp.float32))

    def density(self) -> TimeDensity:
        """Of the least variance, were the loss still what it was (`best_mass`); uniform until every cell was seen."""
        seen = jnp.all(self.examples > 0)
        return TimeDensity(best_mass(jnp.where(seen, self.squares / jnp.maximum(self.examples, 1e-30), 1.0)))

    def plus(self, t: jax.Array, nats: jax.Array) -> "LossByTime":
        """With a step's diffusion terms [B], not weighted, at times [B]."""
        in_cell = jnp.floor(t * CELLS)[None, :] == jnp.arange(CELLS)[:, None]
        kept = jnp.exp(-1.0 / MEMORY)
        squares = kept * self.squares + jnp.where(in_cell, jnp.square(nats), 0.0).sum(axis=1)
        return LossByTime(squares, kept * self.examples + in_cell.sum(axis=1))

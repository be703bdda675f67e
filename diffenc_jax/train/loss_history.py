"""Importance sampling of training times: a density over t that follows the losses of past steps."""

import flax
import jax
import jax.numpy as jnp

from diffenc_jax.diffusion.times import TimeDensity, best_mass

# The density is constant on each of CELLS cells of [0, 1).
CELLS = 32
# After MEMORY steps an observation has the weight 1/e.
MEMORY = 50


@flax.struct.dataclass
class LossByTime:
    """Exponentially weighted sums over past steps of the diffusion term, by cell of t. Part of the training state.

    Attributes:
      squares: [CELLS] sum of squared diffusion terms, nats².
      examples: [CELLS] number of diffusion terms.
    """

    squares: jax.Array
    examples: jax.Array

    @classmethod
    def empty(cls) -> "LossByTime":
        return cls(jnp.zeros(CELLS, jnp.float32), jnp.zeros(CELLS, jnp.float32))

    def density(self) -> TimeDensity:
        """The density that minimises the variance of the estimated loss (`best_mass`).

        It is uniform as long as a cell has no examples.
        """
        complete = jnp.all(self.examples > 0)
        return TimeDensity(best_mass(jnp.where(complete, self.squares / jnp.maximum(self.examples, 1e-30), 1.0)))

    def plus(self, t: jax.Array, nats: jax.Array) -> "LossByTime":
        """The sums with one step's unweighted diffusion terms `nats` [B] at times `t` [B] added."""
        in_cell = jnp.floor(t * CELLS)[None, :] == jnp.arange(CELLS)[:, None]
        decay = jnp.exp(-1.0 / MEMORY)
        squares = decay * self.squares + jnp.where(in_cell, jnp.square(nats), 0.0).sum(axis=1)
        return LossByTime(squares, decay * self.examples + in_cell.sum(axis=1))

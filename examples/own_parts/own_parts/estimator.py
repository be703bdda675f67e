"""An estimator with less noise than the bound's, for more calls of the networks."""

from dataclasses import dataclass

from diffenc_jax.core.keys import count
from diffenc_jax.evaluation.bound import Bound

SPACING = 2**24  # more than there are images: the draws of one image are those of no other


class Mirrored(Bound):
    """The mean of the bound over 2 k draws of the noise at one time, of which k are the negatives of the others.

    It is unbiased. The first draw has the same noise as the estimator `bound`.
    """

    @dataclass(frozen=True)
    class Options:
        pairs: int = count(1, "Number k of pairs ε, -ε per image and pass.")

    @property
    def name(self):
        return f"{super().name}-mirrored{self.options.pairs}"

    def describe(self):
        return super().describe() | {"kind": "mirrored", "pairs": self.options.pairs}

    def estimate(self, given):
        first, weight = self.noise(given.tables, given.indices, given.number)
        values = []
        for pair in range(self.options.pairs):
            drawn, _ = self.noise(given.tables, given.indices + pair * SPACING, given.number)
            for sign in (1, -1):
                noise = first._replace(eps_0=sign * drawn.eps_0, eps_t=sign * drawn.eps_t)
                values.append(self.values(given.params, given.tables, given.batch, noise, weight))
        return {name: sum(value[name] for value in values) / len(values) for name in values[0]}

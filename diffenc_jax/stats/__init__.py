"""Statistics of what was evaluated: numpy and scipy only.

scipy.stats takes a second to import, so it is called by its full name, which imports it where it is first used.
"""

from diffenc_jax.stats.bootstrap import Bootstrap, bootstrap
from diffenc_jax.stats.components import Components, components
from diffenc_jax.stats.distributions import Overlap, farther, frechet, overlap, rank_sum
from diffenc_jax.stats.hypotheses import Outcome, holm, paired_t, sign_flip, welch_from_summary, welch_t
from diffenc_jax.stats.means import Mean, mean_of
from diffenc_jax.stats.power import detectable_difference, power, seeds_needed
from diffenc_jax.stats.uncertainty import Difference, StandardErrors, difference, interval, replicates, standard_errors

__all__ = [
    "Bootstrap",
    "Components",
    "Difference",
    "Mean",
    "Outcome",
    "Overlap",
    "StandardErrors",
    "bootstrap",
    "components",
    "detectable_difference",
    "difference",
    "farther",
    "frechet",
    "holm",
    "interval",
    "mean_of",
    "overlap",
    "paired_t",
    "power",
    "rank_sum",
    "replicates",
    "seeds_needed",
    "sign_flip",
    "standard_errors",
    "welch_from_summary",
    "welch_t",
]

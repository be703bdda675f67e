"""Statistics of evaluations and of runs over seeds, on numpy and scipy alone.

scipy.stats takes a second to import, so modules call it by its full name, which imports it at the first use.
"""

from diffenc_jax.stats.bootstrap import Bootstrap, bootstrap
from diffenc_jax.stats.components import Components, components
from diffenc_jax.stats.distributions import Overlap, farther, frechet, overlap, rank_sum
from diffenc_jax.stats.hypotheses import Outcome, holm, paired_t, sign_flip, welch_from_summary, welch_t
from diffenc_jax.stats.means import Mean, mean_and_error, mean_of
from diffenc_jax.stats.power import Design
from diffenc_jax.stats.uncertainty import Difference, StandardErrors, difference, interval, replicates, standard_errors

__all__ = [
    "Bootstrap",
    "Components",
    "Design",
    "Difference",
    "Mean",
    "Outcome",
    "Overlap",
    "StandardErrors",
    "bootstrap",
    "components",
    "difference",
    "farther",
    "frechet",
    "holm",
    "interval",
    "mean_and_error",
    "mean_of",
    "overlap",
    "paired_t",
    "rank_sum",
    "replicates",
    "sign_flip",
    "standard_errors",
    "welch_from_summary",
    "welch_t",
]

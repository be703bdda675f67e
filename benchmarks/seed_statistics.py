"""Error rates of the statistics over seeds in simulated experiments; prints the tables of docs/results-reliability.md.

The two arms do not differ. The effect of a seed that is common to both arms has variance 1 for shared seeds and 0 for
separate seeds; the effect on a single arm has variance 1. All distributions are normal, except those labelled skewed.
"""

import argparse

import numpy as np
import records

from diffenc_jax.commands.arguments import positive
from diffenc_jax.evaluation.means import mean_of
from diffenc_jax.lab.stats.bootstrap import bootstrap
from diffenc_jax.lab.stats.hypotheses import holm, paired_t, sign_flip, welch_t
from diffenc_jax.lab.stats.power import detectable_difference

EXAMPLE = "python benchmarks/seed_statistics.py --experiments=20000"
SEEDS = (3, 5, 8)
ALPHA = 0.05
SIDES = ("p_two_sided", "p_one_sided_less", "p_one_sided_greater")
SKEWED = {
    "normal": lambda rng, size: rng.normal(size=size),
    "skewness 1": lambda rng, size: rng.gamma(4, size=size) / 2 - 2,
    "skewness 2": lambda rng, size: rng.exponential(size=size) - 1,
}


def arms(rng, size, shared, deviations=(1, 1)):
    """Values [experiments, seeds] of two arms that do not differ in the mean."""
    both = shared * rng.normal(size=size)
    return (both + deviation * rng.normal(size=size) for deviation in deviations)


def false_positives(rng, experiments):
    """Rows (test, its rates of rejection in percent, two-sided / lower / higher, by number of seeds)."""
    cases = {
        "paired t, shared seeds": (paired_t, 1, (1, 1)),
        "Welch t, separate seeds": (welch_t, 0, (1, 1)),
        "Welch t, deviations 1 and 3": (welch_t, 0, (1, 3)),
        "Welch t, shared seeds": (welch_t, 1, (1, 1)),
        "exact sign-flip, shared seeds": (sign_flip, 1, (1, 1)),
    }
    for name, (test, shared, deviations) in cases.items():
        cells = []
        for seeds in SEEDS:
            outcome = test(*arms(rng, (experiments, seeds), shared, deviations))
            cells.append(" / ".join(f"{100 * np.mean(getattr(outcome, side) <= ALPHA):.1f}" for side in SIDES))
        yield name, cells


def family_wise(rng, experiments):
    """Rows (correction, percent of experiments in which any of four comparisons rejects, by seeds)."""
    found = []
    for seeds in SEEDS:
        reference = rng.normal(size=(experiments, seeds))
        p = [paired_t(rng.normal(size=reference.shape), reference).p_two_sided for _ in range(4)]
        found.append(np.stack(p, axis=-1))
    for name, corrected in (("without correction", lambda p: p), ("by Holm's method", holm)):
        yield name, [f"{100 * np.mean(np.any(corrected(p) <= ALPHA, axis=-1)):.1f}" for p in found]


def coverage(rng, experiments):
    """Rows (seeds' distribution, percent of 95 % intervals that hold the mean: Student's / bootstrap, by seeds)."""
    for name, draw in SKEWED.items():
        cells = []
        for seeds in SEEDS:
            held = []
            for values in draw(rng, (experiments, seeds)):
                # Two equal images, since only the seeds matter here.
                resampled = bootstrap(np.repeat(values[:, None], 2, axis=1), resamples=4000).seeds
                held.append([low < 0 < high for low, high in (mean_of(values).interval, resampled)])
            cells.append(" / ".join(f"{share:.1f}" for share in 100 * np.mean(held, axis=0)))
        yield name, cells


def power_met(rng, experiments):
    """A row (test, percent of experiments at the detectable difference that reject, by seeds)."""
    cells = []
    for seeds in SEEDS:
        differences = detectable_difference(1, seeds) + rng.normal(size=(experiments, seeds))
        cells.append(f"{100 * np.mean(paired_t(differences, 0 * differences).p_two_sided <= ALPHA):.1f}")
    yield "paired t", cells


def show(title, rows):
    heads = ["", *(f"{seeds} seeds" for seeds in SEEDS)]
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name, cells in rows:
        print(f"| {' | '.join([name, *cells])} |", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--experiments", type=positive, default=20_000, metavar="N", help="simulated experiments per number"
    )


def run(arguments: argparse.Namespace) -> None:
    experiments, rng = arguments.experiments, np.random.default_rng(0)
    show("False positives at 5 %, in percent: two-sided / lower / higher", false_positives(rng, experiments))
    show("Any false positive of four comparisons with one reference, in percent", family_wise(rng, experiments))
    show("Power at the detectable difference for 80 %, in percent", power_met(rng, experiments))
    few = max(experiments // 10, 1)  # the bootstrap handles one experiment at a time
    show(f"Coverage of 95 % intervals over seeds, in percent: Student's / bootstrap ({few:,})", coverage(rng, few))


if __name__ == "__main__":
    records.run_script()

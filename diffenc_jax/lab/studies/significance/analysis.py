"""Analysis of finished runs in bits/dim: each arm over its seeds, and each arm against the reference."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.evaluation.means import mean_of
from diffenc_jax.lab.stats.bootstrap import bootstrap
from diffenc_jax.lab.stats.components import components
from diffenc_jax.lab.stats.hypotheses import holm, paired_t, sign_flip, welch_t
from diffenc_jax.lab.stats.power import Design
from diffenc_jax.lab.studies.significance.finished import Curves, FinishedRun, MissingRun, changed_keys
from diffenc_jax.lab.studies.significance.headline import ALPHA, FEWEST_SEEDS, Headline, fall_of, headline
from diffenc_jax.lab.studies.trivial import TrivialModels, trivial_models

LEVEL, POWER = 0.95, 0.8
# The p values that are corrected for the number of comparisons.
CORRECTED = ("p_two_sided", "p_one_sided_less", "p_one_sided_greater")
Seeds = dict[int, FinishedRun]
# What `_over_seeds` returns for no seed.
NO_SEEDS = {"n": 0, **dict.fromkeys(("mean", "sd", "standard_error", "interval", "between_seeds", "bootstrap"))}


class Findings(NamedTuple):
    """The analysis of the finished runs, and the missing ones.

    Attributes:
      analysis: see `analyse`; also 'trivial', bits/dim by name of a trivial model, and 'falls', `Fall` by arm.
    """

    analysis: dict[str, Any]
    runs: list[FinishedRun]
    missing: list[MissingRun]
    curves: Curves
    trivial: TrivialModels

    @property
    def headline(self) -> Headline:
        """The conclusions and their cautions."""
        return headline(self.analysis)

    @property
    def has_several_seeds(self) -> bool:
        """Whether an arm has several seeds."""
        return any(len(arm["bpd"]) > 1 for arm in self.analysis["arms"].values())

    @property
    def data(self) -> str:
        """'digits, test'."""
        dataset = self.runs[0].evaluation.record["dataset"]
        return f"{dataset['name']}, {dataset['split']}"


def find(runs: list[FinishedRun], missing: list[MissingRun], curves: Curves, reference: str, target: float) -> Findings:
    """Findings on at least one run; see `analyse`. Raises InputError if no run is of the arm `reference`.

    Args:
      curves: the `learning_curves` by arm.
    """
    arms = list(dict.fromkeys(run.arm for run in [*runs, *missing]))
    require(reference in arms, f"--reference={reference} is not among {', '.join(arms)}")
    trivial = trivial_models(runs[0].config, [runs[0].evaluation.record["dataset"]])
    falls = {arm: fall for arm, kinds in curves.items() if (fall := fall_of(kinds))}
    facts = {"trivial": trivial.bpd, "falls": {arm: fall._asdict() for arm, fall in falls.items()}}
    return Findings(analyse(runs, reference, target) | facts, runs, missing, curves, trivial)


def analyse(runs: Sequence[FinishedRun], reference: str, target: float) -> dict[str, Any]:
    """JSON values: 'arms' by name, and 'comparisons', one per arm other than the reference.

    An arm's mean and errors are over 'common_seeds', those that all arms have; a comparison has all seeds that its two
    arms have in common. The main test is the two-sided paired t test of the differences by seed, with p values
    corrected by Holm's method for the number of comparisons. The other tests are corrected in the same way.

    Args:
      runs: finished runs of the reference and of other arms, evaluated in one way (`common_evaluations`).
      reference: arm with which every other arm is compared.
      target: difference in bits/dim for which the necessary number of seeds is computed.
    """
    by_arm: dict[str, Seeds] = {}
    for run in runs:
        by_arm.setdefault(run.arm, {})[run.seed] = run
    comparisons = []
    if reference in by_arm:
        others = [arm for arm in by_arm if arm != reference]
        comparisons = [
            {"arm": arm, "reference": reference, **_compare(by_arm[arm], by_arm[reference], target)} for arm in others
        ]
    _add_corrected(comparisons)
    common = sorted(set.intersection(*map(set, by_arm.values())))
    noises = {run.seed: run.evaluation.record["estimator"]["seed"] for run in runs}
    return {
        "reference": reference,
        "level": LEVEL,
        "target_difference": target,
        # Noise that several seeds are evaluated under; no error over seeds contains it.
        "noise_common_to_seeds": len(set(noises.values())) < len(noises),
        "common_seeds": common,
        "arms": {arm: _arm(seeds, common) for arm, seeds in by_arm.items()},
        "comparisons": comparisons,
    }


def _arm(seeds: Seeds, common: Sequence[int]) -> dict[str, Any]:
    """Values of an arm by seed; over the `common` seeds, if any, their mean with its errors and variance components."""
    record, evaluations = next(iter(seeds.values())).evaluation.record, [seeds[seed].evaluation for seed in common]
    terms = [name for name in record["bpd"] if name != "total" and common]
    return {
        "step": record["step"],
        "params": record["params"],
        "bpd": {str(seed): float(run.evaluation.bits.mean()) for seed, run in sorted(seeds.items())},
        "terms": {name: float(np.mean([e.record["bpd"][name] for e in evaluations])) for name in terms},
        **(_over_seeds(np.stack([e.bits for e in evaluations]), evaluations[0].replicates) if common else NO_SEEDS),
    }


def _over_seeds(bits: np.ndarray, replicates: int | None) -> dict[str, Any]:
    """Mean over seeds with its errors, from `bits` [S, P, N]; see stats."""
    parts = components(bits, replicates)
    enough = len(bits) > 1 and bits.shape[2] > 1
    return {
        **mean_of(bits.mean((1, 2)), LEVEL)._asdict(),
        "between_seeds": parts and parts._asdict(),
        "bootstrap": bootstrap(bits.mean(1), LEVEL)._asdict() if enough else None,
    }


def _compare(seeds: Seeds, reference: Seeds, target: float) -> dict[str, Any]:
    """Differences of an arm to the reference: by seed, over seeds, and tested."""
    paired = sorted(seeds.keys() & reference.keys())
    pairs = [(seeds[seed].evaluation, reference[seed].evaluation) for seed in paired]
    result = {
        "changes": changed_keys(next(iter(reference.values())).config, next(iter(seeds.values())).config),
        "paired_seeds": paired,
    }
    all_a, all_b = (np.array([run.evaluation.bits.mean() for run in arm.values()]) for arm in (seeds, reference))
    if not paired:
        return result | {"tests": _tests(np.empty(0), np.empty(0), all_a, all_b)}
    bits = np.stack([a.bits - b.bits for a, b in pairs])
    a, b = (np.array([evaluation.bits.mean() for evaluation in side]) for side in zip(*pairs, strict=True))
    return {
        **result,
        "difference": {str(seed): float(value) for seed, value in zip(paired, bits.mean((1, 2)), strict=True)},
        **_over_seeds(bits, pairs[0][0].replicates),
        "tests": _tests(a, b, all_a, all_b),
        "power": _power(a - b, all_a, all_b, target),
    }


def _tests(a: np.ndarray, b: np.ndarray, all_a: np.ndarray, all_b: np.ndarray) -> dict[str, dict[str, Any]]:
    """Tests of the paired values `a` and `b`, and of all values of both arms for the test without pairs."""
    tests = []
    if len(a) > 1:
        tests += [paired_t(a, b), sign_flip(a, b)]
    if min(len(all_a), len(all_b)) > 1:
        tests.append(welch_t(all_a, all_b))
    return {test.name: {key: value for key, value in test._asdict().items() if key != "name"} for test in tests}


def _power(differences: np.ndarray, all_a: np.ndarray, all_b: np.ndarray, target: float) -> dict[str, Any]:
    """Power of the two-sided, uncorrected tests, if the standard deviations are those of the values.

    Fewer than `FEWEST_SEEDS` values are not extrapolated.
    """
    observed = {}
    if len(differences) >= FEWEST_SEEDS:
        observed["paired"] = float(differences.std(ddof=1)), len(differences)
    if (n := min(len(all_a), len(all_b))) >= FEWEST_SEEDS:
        observed["welch"] = math.sqrt((all_a.var(ddof=1) + all_b.var(ddof=1)) / 2), n
    designs = {kind: Design(kind, alpha=ALPHA) for kind in observed}
    return {
        kind: {
            "sd": sd,
            "detectable_difference": designs[kind].detectable_difference(sd, n, POWER),
            "seeds_needed": designs[kind].seeds_needed(target, sd, POWER),
        }
        for kind, (sd, n) in observed.items()
        if sd > 0
    }


def _add_corrected(comparisons: list[dict[str, Any]]) -> None:
    """Add Holm's corrected p values per test, over the comparisons that have it."""
    for name in dict.fromkeys(name for comparison in comparisons for name in comparison["tests"]):
        tests = [comparison["tests"][name] for comparison in comparisons if name in comparison["tests"]]
        for key in CORRECTED:
            for test, corrected in zip(tests, holm(np.array([test[key] for test in tests])), strict=True):
                test[f"holm_{key}"] = float(corrected)

"""What the runs say: every arm over its seeds, and every arm against the reference. All in bits/dim."""

import math
from typing import Any

import numpy as np

from diffenc_jax import stats
from diffenc_jax.compare import NOISE
from diffenc_jax.significance.results import Run, changes

LEVEL, ALPHA, POWER = 0.95, 0.05, 0.8
# The tests' p values that are corrected for the number of comparisons.
CORRECTED = ("p_two_sided", "p_one_sided_less", "p_one_sided_greater")


def analyse(runs: list[Run], reference: str, matters: float) -> dict[str, Any]:
    """JSON's values: 'arms' by name, and 'comparisons', one for each other arm.

    The main test is the two-sided paired t test of the differences by seed, its p values corrected by Holm's method
    for the number of comparisons; the others stand beside it, each corrected in the same way.

    Args:
      runs: finished ones, of `reference` and others.
      reference: what every other arm is compared with.
      matters: a difference that would matter, to say how many seeds would show it.
    """
    by_arm: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_arm.setdefault(run.arm, {})[run.seed] = run
    comparisons = []
    if reference in by_arm:
        others = [arm for arm in by_arm if arm != reference]
        comparisons = [_compare(arm, by_arm[arm], reference, by_arm[reference], matters) for arm in others]
    _correct(comparisons)
    return {
        "reference": reference,
        "level": LEVEL,
        "matters": matters,
        "noise_common_to_seeds": _noise_common_to_seeds(runs),
        "arms": {arm: _arm(seeds) for arm, seeds in by_arm.items()},
        "comparisons": comparisons,
    }


def _noise_common_to_seeds(runs: list[Run]) -> bool:
    """Whether different seeds were evaluated under one noise, of which no error over seeds can tell."""
    noises = {run.seed: run.evaluation.record["estimator"]["seed"] for run in runs}
    return len(set(noises.values())) < len(noises)


def _arm(seeds: dict[int, Run]) -> dict[str, Any]:
    """An arm's value for every seed, their mean over seeds with its errors, and what they vary by."""
    evaluations = [run.evaluation for run in seeds.values()]
    bits = np.stack([evaluation.bits for evaluation in evaluations])
    terms = [name for name in evaluations[0].record["bpd"] if name != "total"]
    return {
        "step": evaluations[0].record["step"],
        "params": evaluations[0].record.get("params"),
        "bpd": {str(seed): float(value) for seed, value in zip(seeds, bits.mean((1, 2)), strict=True)},
        "terms": {name: float(np.mean([e.record["bpd"][name] for e in evaluations])) for name in terms},
        **_over_seeds(bits, evaluations[0].replicates),
    }


def _over_seeds(bits: np.ndarray, replicates: int | None) -> dict[str, Any]:
    """Mean over seeds with its errors, from bits [S, P, N]; see stats."""
    parts = stats.components(bits, replicates)
    enough = len(bits) > 1 and bits.shape[2] > 1
    return {
        **stats.mean_of(bits.mean((1, 2)), LEVEL)._asdict(),
        "between_seeds": parts and parts._asdict(),
        "bootstrap": stats.bootstrap(bits.mean(1), LEVEL)._asdict() if enough else None,
    }


def _compare(
    arm: str, seeds: dict[int, Run], reference: str, reference_seeds: dict[int, Run], matters: float
) -> dict[str, Any]:
    """An arm less the reference: by seed, over seeds, and tested."""
    paired = sorted(seeds.keys() & reference_seeds.keys())
    pairs = [(seeds[seed].evaluation, reference_seeds[seed].evaluation) for seed in paired]
    first, other = next(iter(seeds.values())), next(iter(reference_seeds.values()))
    common = all(a.record["estimator"][key] == b.record["estimator"][key] for a, b in pairs for key in NOISE)
    result = {
        "arm": arm,
        "reference": reference,
        "changes": changes(other.config, first.config),
        "paired_seeds": paired,
        "common_noise": common,
    }
    all_a, all_b = (np.array([r.evaluation.bits.mean() for r in arm.values()]) for arm in (seeds, reference_seeds))
    if not paired:
        return result | {"tests": _tests(np.empty(0), np.empty(0), all_a, all_b)}
    bits = np.stack([a.bits - b.bits for a, b in pairs])
    differences = {str(seed): float(value) for seed, value in zip(paired, bits.mean((1, 2)), strict=True)}
    # Where the noise of a pair is not common, a pass of the one has nothing to do with the same pass of the other.
    result |= {"difference": differences, **_over_seeds(bits, pairs[0][0].replicates if common else None)}
    a, b = (np.array([e.bits.mean() for e in side]) for side in zip(*pairs, strict=True))
    return result | {"tests": _tests(a, b, all_a, all_b), "power": _power(a - b, all_a, all_b, matters)}


def _tests(a: np.ndarray, b: np.ndarray, all_a: np.ndarray, all_b: np.ndarray) -> dict[str, dict[str, Any]]:
    """Of the paired values `a` and `b`, and of all values of both arms where pairs play no part."""
    tests = []
    if len(a) > 1:
        tests += [stats.paired_t(a, b), stats.sign_flip(a, b)]
    if min(len(all_a), len(all_b)) > 1:
        tests.append(stats.welch_t(all_a, all_b))
    return {test.name: {key: value for key, value in test._asdict().items() if key != "name"} for test in tests}


def _power(differences: np.ndarray, all_a: np.ndarray, all_b: np.ndarray, matters: float) -> dict[str, Any]:
    """What the design can show at level ALPHA, two-sided and uncorrected, with probability POWER.

    By the paired t test, and by one that does without pairs, if the standard deviations are those seen.
    """
    seen = {}
    if len(differences) > 1:
        seen["paired"] = float(differences.std(ddof=1)), len(differences)
    if (n := min(len(all_a), len(all_b))) > 1:
        seen["welch"] = math.sqrt((all_a.var(ddof=1) + all_b.var(ddof=1)) / 2), n
    return {
        design: {
            "sd": sd,
            "detectable_difference": stats.detectable_difference(sd, n, POWER, ALPHA, design=design),
            "seeds_needed": stats.seeds_needed(matters, sd, POWER, ALPHA, design=design),
        }
        for design, (sd, n) in seen.items()
        if sd > 0
    }


def _correct(comparisons: list[dict[str, Any]]) -> None:
    """Puts Holm's corrected p values beside the plain ones: test by test, over the comparisons that have it."""
    for name in dict.fromkeys(name for comparison in comparisons for name in comparison["tests"]):
        tests = [comparison["tests"][name] for comparison in comparisons if name in comparison["tests"]]
        for key in CORRECTED:
            for test, corrected in zip(tests, stats.holm(np.array([test[key] for test in tests])), strict=True):
                test[f"holm_{key}"] = float(corrected)

"""Analysis of finished runs in bits/dim: each arm over its seeds, and each arm against the reference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.evaluation.means import mean_of
from diffenc_jax.lab.stats.bootstrap import Bootstrap, bootstrap
from diffenc_jax.lab.stats.components import Components, components
from diffenc_jax.lab.stats.hypotheses import Outcome, holm, paired_t, sign_flip, welch_t
from diffenc_jax.lab.stats.power import Design
from diffenc_jax.lab.studies.significance.curves import Curves, Fall, fall_of
from diffenc_jax.lab.studies.significance.finished import FinishedRun, MissingRun, arms_of, changed_keys
from diffenc_jax.lab.studies.trivial import TrivialModels, trivial_models

ALPHA, LEVEL, POWER = 0.05, 0.95, 0.8
MAIN_TEST = "paired t"
# With fewer seeds nothing is concluded, and no spread over seeds is extrapolated.
FEWEST_SEEDS = 3
# The p values that are corrected for the number of comparisons.
CORRECTED = ("p_two_sided", "p_one_sided_less", "p_one_sided_greater")
Seeds = dict[int, FinishedRun]


@dataclass(frozen=True, kw_only=True)
class OverSeeds:
    """Mean over `n` seeds with its errors. What the seeds do not determine is None.

    Attributes:
      sd: standard deviation of a seed's value.
      standard_error, interval: standard error of the mean, and its t interval.
      between_seeds: what the values differ by: noise of the evaluation, and seeds.
      bootstrap: intervals over seeds and images.
    """

    n: int = 0
    mean: float | None = None
    sd: float | None = None
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    between_seeds: Components | None = None
    bootstrap: Bootstrap | None = None

    @classmethod
    def of(cls, bits: np.ndarray | None, replicates: int | None, **other: Any) -> Self:
        """From `bits` [S, P, N], None without seeds; see stats. `other` are the fields of the class itself."""
        if bits is None:
            return cls(**other)
        enough = len(bits) > 1 and bits.shape[2] > 1
        intervals = bootstrap(bits.mean(1), LEVEL) if enough else None
        mean = mean_of(bits.mean((1, 2)), LEVEL)._asdict()
        return cls(**mean, between_seeds=components(bits, replicates), bootstrap=intervals, **other)


@dataclass(frozen=True, kw_only=True)
class Arm(OverSeeds):
    """An arm: its mean over the seeds that all arms have.

    Attributes:
      step, params: last step of its runs, and number of parameters.
      bpd: bits/dim by seed, of all its seeds.
      terms: mean of each term of the bound over the common seeds.
    """

    step: int
    params: int
    bpd: dict[int, float]
    terms: dict[str, float]


@dataclass
class CorrectedTest:
    """A test of an arm against the reference (`stats.hypotheses.Outcome`), with p values corrected by Holm's method."""

    statistic: float
    df: float | None
    p_two_sided: float
    p_one_sided_less: float
    p_one_sided_greater: float
    holm_p_two_sided: float | None = None
    holm_p_one_sided_less: float | None = None
    holm_p_one_sided_greater: float | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> "CorrectedTest":
        """The test of one experiment, not corrected."""
        df = None if outcome.df is None else float(outcome.df)
        ps = (outcome.p_two_sided, outcome.p_one_sided_less, outcome.p_one_sided_greater)
        return cls(float(outcome.statistic), df, *map(float, ps))

    @property
    def corrected(self) -> float:
        """The corrected two-sided p, or the plain one until it is corrected."""
        return self.p_two_sided if self.holm_p_two_sided is None else self.holm_p_two_sided


@dataclass(frozen=True)
class Power:
    """Power of a two-sided, uncorrected test, if `sd` is the standard deviation of its values.

    Attributes:
      detectable_difference: difference that the seeds show with probability `POWER`.
      seeds_needed: number of seeds that show the target difference with that probability.
    """

    sd: float
    detectable_difference: float
    seeds_needed: int


@dataclass(frozen=True, kw_only=True)
class Comparison(OverSeeds):
    """Difference of an arm to the reference, over the seeds that both have.

    Attributes:
      changes: values of the keys in which the arm differs from the reference.
      difference: difference in bits/dim by seed.
      tests: by name of the test.
      power: by name of the design, 'paired' and 'welch'.
    """

    arm: str
    reference: str
    changes: dict[str, Any] = field(default_factory=dict)
    difference: dict[int, float]
    tests: dict[str, CorrectedTest]
    power: dict[str, Power] = field(default_factory=dict)

    @property
    def paired_seeds(self) -> list[int]:
        """The common seeds of the two arms."""
        return list(self.difference)


@dataclass(frozen=True)
class Analysis:
    """All arms, and a comparison per arm other than the reference.

    Attributes:
      target_difference: difference in bits/dim for which the necessary number of seeds is computed.
      noise_common_to_seeds: whether several seeds are evaluated under the same noise; no error over seeds contains it.
      common_seeds: those that all arms have.
      trivial: bits/dim by name of a trivial model.
      falls: by arm, how much its bits/dim still fell at the end of training.
    """

    reference: str
    target_difference: float
    noise_common_to_seeds: bool
    common_seeds: list[int]
    arms: dict[str, Arm]
    comparisons: list[Comparison]
    trivial: Mapping[str, float]
    falls: Mapping[str, Fall]
    level: float = LEVEL


class Findings(NamedTuple):
    """The analysis of the finished runs, and the missing ones."""

    analysis: Analysis
    runs: list[FinishedRun]
    missing: list[MissingRun]
    curves: Curves
    trivial: TrivialModels

    @property
    def has_several_seeds(self) -> bool:
        """Whether an arm has several seeds."""
        return any(len(arm.bpd) > 1 for arm in self.analysis.arms.values())

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
    arms = arms_of(runs, missing)
    require(reference in arms, f"--reference={reference} is not among {', '.join(arms)}")
    trivial = trivial_models(runs[0].config, [runs[0].evaluation.record["dataset"]])
    falls = {arm: fall for arm, kinds in curves.items() if (fall := fall_of(kinds))}
    return Findings(analyse(runs, reference, target, trivial.bpd, falls), runs, missing, curves, trivial)


def analyse(
    runs: Sequence[FinishedRun],
    reference: str,
    target: float,
    trivial: Mapping[str, float] | None = None,
    falls: Mapping[str, Fall] | None = None,
) -> Analysis:
    """The analysis of finished runs that are evaluated in one way (`common_evaluations`).

    The main test is the two-sided paired t test of the differences by seed, with p values corrected by Holm's method
    for the number of comparisons. The other tests are corrected in the same way.

    Args:
      reference: arm with which every other arm is compared; without a run of it there are no comparisons.
      target, trivial, falls: see `Analysis`.
    """
    by_arm: dict[str, Seeds] = {}
    for run in runs:
        by_arm.setdefault(run.arm, {})[run.seed] = run
    others = [arm for arm in by_arm if arm != reference and reference in by_arm]
    comparisons = [_compare(by_arm, arm, reference, target) for arm in others]
    _correct(comparisons)
    common = sorted(set.intersection(*map(set, by_arm.values())))
    noises = {run.seed: run.evaluation.record["estimator"]["seed"] for run in runs}
    shares_noise = len(set(noises.values())) < len(noises)
    arms = {arm: _arm(seeds, common) for arm, seeds in by_arm.items()}
    return Analysis(reference, target, shares_noise, common, arms, comparisons, trivial or {}, falls or {})


def _arm(seeds: Seeds, common: Sequence[int]) -> Arm:
    record, evaluations = next(iter(seeds.values())).evaluation.record, [seeds[seed].evaluation for seed in common]
    terms = [name for name in record["bpd"] if name != "total" and common]
    return Arm.of(
        np.stack([evaluation.bits for evaluation in evaluations]) if common else None,
        record["estimator"]["replicates"],
        step=record["step"],
        params=record["params"],
        bpd={seed: float(run.evaluation.bits.mean()) for seed, run in sorted(seeds.items())},
        terms={name: float(np.mean([e.record["bpd"][name] for e in evaluations])) for name in terms},
    )


def _compare(by_arm: Mapping[str, Seeds], arm: str, reference: str, target: float) -> Comparison:
    """Differences of an arm to the reference: by seed, over seeds, and tested."""
    ours, theirs = by_arm[arm], by_arm[reference]
    paired = sorted(ours.keys() & theirs.keys())
    bits = np.stack([ours[s].evaluation.bits - theirs[s].evaluation.bits for s in paired]) if paired else None
    a, b = (np.array([seeds[s].evaluation.bits.mean() for s in paired]) for seeds in (ours, theirs))
    all_a, all_b = (np.array([run.evaluation.bits.mean() for run in seeds.values()]) for seeds in (ours, theirs))
    outcomes = [paired_t(a, b), sign_flip(a, b)] if len(paired) > 1 else []
    outcomes += [welch_t(all_a, all_b)] if min(len(all_a), len(all_b)) > 1 else []
    first, other = (next(iter(seeds.values())) for seeds in (theirs, ours))
    return Comparison.of(
        bits,
        first.evaluation.replicates,
        arm=arm,
        reference=reference,
        changes=changed_keys(first.config, other.config),
        difference=dict(zip(paired, [] if bits is None else bits.mean((1, 2)).tolist(), strict=True)),
        tests={outcome.name: CorrectedTest.of(outcome) for outcome in outcomes},
        power=_power(a - b, all_a, all_b, target),
    )


def _power(differences: np.ndarray, all_a: np.ndarray, all_b: np.ndarray, target: float) -> dict[str, Power]:
    """Power by design, from values of at least `FEWEST_SEEDS` seeds."""
    observed = {}
    if len(differences) >= FEWEST_SEEDS:
        observed["paired"] = float(differences.std(ddof=1)), len(differences)
    if len(differences) and (n := min(len(all_a), len(all_b))) >= FEWEST_SEEDS:
        observed["welch"] = math.sqrt((all_a.var(ddof=1) + all_b.var(ddof=1)) / 2), n
    powers = {}
    for kind, (sd, n) in observed.items():
        if sd > 0:
            design = Design(kind, alpha=ALPHA)
            powers[kind] = Power(sd, design.detectable_difference(sd, n, POWER), design.seeds_needed(target, sd, POWER))
    return powers


def _correct(comparisons: Sequence[Comparison]) -> None:
    """Set Holm's corrected p values per test, over the comparisons that have it."""
    for name in dict.fromkeys(name for comparison in comparisons for name in comparison.tests):
        tests = [comparison.tests[name] for comparison in comparisons if name in comparison.tests]
        for key in CORRECTED:
            for test, corrected in zip(tests, holm(np.array([getattr(test, key) for test in tests])), strict=True):
                setattr(test, f"holm_{key}", float(corrected))

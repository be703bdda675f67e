"""Analysis of finished runs in bits/dim: arms over their seeds, arms against the reference, and curves of training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.evaluation.means import mean_and_error, quietly
from diffenc_jax.lab.comparisons.significance.finished import FinishedRun, MissingRun, changed_keys
from diffenc_jax.lab.stats.hypotheses import Outcome, holm, paired_t, sign_flip, welch_t
from diffenc_jax.lab.stats.means import Mean, mean_of
from diffenc_jax.lab.stats.power import detectable_difference, seeds_needed
from diffenc_jax.runs.metrics import TOTAL, Row, read_metrics
from diffenc_jax.runs.record_types import DatasetEntry

# With fewer seeds nothing is concluded, and no spread over seeds is extrapolated.
FEWEST_SEEDS = 3
Seeds = dict[int, FinishedRun]
Points = list[tuple[int, list[float]]]  # (step, value of each seed)
Curves = dict[str, dict[str, Points]]  # by name of a group of runs, such as the arm, and by kind


@dataclass(frozen=True, kw_only=True)
class Regret(Mean):
    """Bits/dim of an arm above the truth: its mean over the seeds that all arms have.

    Attributes:
      bpd: by seed, of all its seeds.
      images: standard error over images, of the regret of each image over these seeds; None for a single image.
    """

    bpd: dict[int, float]
    images: float | None


@dataclass(frozen=True, kw_only=True)
class Arm(Mean):
    """An arm: its mean over the seeds that all arms have.

    Attributes:
      steps: last step of its runs.
      params: number of parameters.
      bpd: bits/dim by seed, of all its seeds.
      terms: mean of each term of the bound over the common seeds.
      regret: None if the truth is unknown.
    """

    steps: int
    params: int
    bpd: dict[int, float]
    terms: dict[str, float]
    regret: Regret | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison(Mean):
    """Difference of an arm to the reference, over the seeds that both have.

    Attributes:
      changes: values of the keys in which the arm differs from the reference.
      difference: difference in bits/dim by seed.
      tests: by name of the test.
      corrected: two-sided p by name of the test, corrected by Holm's method for the number of comparisons.
      detectable_difference: difference that the same number of seeds shows with probability `stats.power.POWER` in the
        uncorrected paired t test, if differences vary as much as these; None below `FEWEST_SEEDS` seeds.
      seeds_needed: number of seeds that show the target difference with this probability.
    """

    arm: str
    reference: str
    changes: dict[str, Any] = field(default_factory=dict)
    difference: dict[int, float]
    tests: dict[str, Outcome]
    corrected: dict[str, float] = field(default_factory=dict)
    detectable_difference: float | None = None
    seeds_needed: int | None = None


@dataclass(frozen=True)
class Fall:
    """Fall of bits/dim at the end of the training of an arm, mean over its seeds, from step `since` on."""

    bpd: float
    since: int


@dataclass(frozen=True)
class Analysis:
    """The finished and the missing runs: all arms, and a comparison per arm other than the reference.

    Attributes:
      target_difference: difference in bits/dim for which the necessary number of seeds is computed.
      noise_common_to_seeds: whether several seeds are evaluated under the same noise, which errors over seeds do not
        include.
      common_seeds: the seeds that all arms have.
      falls: by arm, how much its bits/dim still fell at the end of training.
      true_bpd: true bits/dim of the images; None if they are unknown.
    """

    reference: str
    target_difference: float
    noise_common_to_seeds: bool
    common_seeds: list[int]
    arms: dict[str, Arm]
    comparisons: list[Comparison]
    falls: Mapping[str, Fall]
    true_bpd: float | None
    runs: Sequence[FinishedRun]
    missing: Sequence[MissingRun]

    @property
    def dataset(self) -> DatasetEntry:
        """The evaluated data."""
        return self.runs[0].evaluation.record["dataset"]

    @property
    def data(self) -> str:
        """'digits, test'."""
        return f"{self.dataset['name']}, {self.dataset['split']}"


def analyse(
    runs: Sequence[FinishedRun],
    reference: str | None,
    target: float,
    curves: Curves | None = None,
    missing: Sequence[MissingRun] = (),
) -> Analysis:
    """The analysis of one or more finished runs, which are evaluated in one way (`common_evaluations`).

    The main test is the two-sided paired t test of the differences by seed, with p values corrected by Holm's method
    for the number of comparisons. The other tests are corrected in the same way.

    Args:
      reference: arm with which every other arm is compared; None: the first arm. Raises InputError if the arm has no
        run. Without a finished run of it there are no comparisons.
      target, missing: see `Analysis`.
      curves: the `learning_curves` by arm.
    """
    by_arm: dict[str, Seeds] = {}
    for run in runs:
        by_arm.setdefault(run.arm, {})[run.seed] = run
    known = dict.fromkeys([*by_arm, *(run.arm for run in missing)])
    reference = reference or next(iter(known))
    require(reference in known, f"--reference={reference} is not among {', '.join(known)}")
    others = [arm for arm in by_arm if arm != reference and reference in by_arm]
    noises = {run.seed: run.evaluation.record["estimator"]["seed"] for run in runs}
    common = sorted(set.intersection(*map(set, by_arm.values())))
    return Analysis(
        reference=reference,
        target_difference=target,
        noise_common_to_seeds=len(set(noises.values())) < len(noises),
        common_seeds=common,
        arms={arm: _arm(seeds, common) for arm, seeds in by_arm.items()},
        comparisons=_corrected([_compare(by_arm, arm, reference, target) for arm in others]),
        falls={arm: fall for arm, kinds in (curves or {}).items() if (fall := fall_of(kinds["evaluation"]))},
        true_bpd=runs[0].evaluation.record["dataset"].get("true_bpd"),
        runs=runs,
        missing=missing,
    )


def _arm(seeds: Seeds, common: Sequence[int]) -> Arm:
    first, records = next(iter(seeds.values())), [seeds[seed].evaluation.record for seed in common]
    terms = [name for name in first.evaluation.record["bpd"] if name != "total" and common]
    bpd = {seed: float(run.evaluation.bits.mean()) for seed, run in sorted(seeds.items())}
    return Arm(
        **vars(mean_of([bpd[seed] for seed in common])),
        steps=first.evaluation.record["step"],
        params=first.evaluation.record["params"],
        bpd=bpd,
        terms={name: float(np.mean([record["bpd"][name] for record in records])) for name in terms},
        regret=_regret(seeds, common),
    )


def _regret(seeds: Seeds, common: Sequence[int]) -> Regret | None:
    above = {}
    for seed, (*_, evaluation) in sorted(seeds.items()):
        if evaluation.true_bits is None:
            return None
        above[seed] = evaluation.bits.mean(axis=0) - evaluation.true_bits
    bpd = {seed: float(values.mean()) for seed, values in above.items()}
    by_image = np.mean([above[seed] for seed in common], axis=0) if common else np.zeros(0)
    images = float(mean_and_error(by_image)[1]) if by_image.size > 1 else None
    return Regret(**vars(mean_of([bpd[seed] for seed in common])), bpd=bpd, images=images)


def _compare(by_arm: Mapping[str, Seeds], arm: str, reference: str, target: float) -> Comparison:
    """Differences of an arm to the reference: by seed, over seeds, and tested without correction."""
    ours, theirs = by_arm[arm], by_arm[reference]
    first, other = (next(iter(seeds.values())) for seeds in (theirs, ours))
    paired = sorted(ours.keys() & theirs.keys())
    a, b = (np.array([seeds[s].evaluation.bits.mean() for s in paired]) for seeds in (ours, theirs))
    all_a, all_b = (np.array([run.evaluation.bits.mean() for run in seeds.values()]) for seeds in (ours, theirs))
    outcomes = [paired_t(a, b), sign_flip(a, b)] if len(paired) > 1 else []
    outcomes += [welch_t(all_a, all_b)] if min(len(all_a), len(all_b)) > 1 else []
    difference = dict(zip(paired, (a - b).tolist(), strict=True))
    sd = float((a - b).std(ddof=1)) if len(paired) >= FEWEST_SEEDS else 0.0
    return Comparison(
        **vars(mean_of([*difference.values()])),
        arm=arm,
        reference=reference,
        changes=changed_keys(first.config, other.config),
        difference=difference,
        tests={outcome.name: outcome for outcome in outcomes},
        detectable_difference=detectable_difference(sd, len(paired)) if sd else None,
        seeds_needed=seeds_needed(target, sd) if sd else None,
    )


def _corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """Add the p values corrected by Holm's method, per test, over the comparisons that have this test."""
    for name in dict.fromkeys(name for comparison in comparisons for name in comparison.tests):
        tested = [comparison for comparison in comparisons if name in comparison.tests]
        ps = holm(np.array([comparison.tests[name].p_two_sided for comparison in tested])).tolist()
        for comparison, p in zip(tested, ps, strict=True):
            comparison.corrected[name] = p
    return comparisons


def fall_of(evaluations: Points) -> Fall | None:
    """Fall since the last evaluation in the first three quarters of training; None if there is none."""
    early = [point for point in evaluations if point[0] <= 0.75 * evaluations[-1][0]]
    if not early:
        return None
    before, after = means_of([early[-1], evaluations[-1]])
    return Fall(before - after, early[-1][0])


@quietly
def means_of(points: Points) -> list[float]:
    """The mean over seeds at each step."""
    return [float(np.mean(values)) for _, values in points]


def curves_of_arms(
    runs: Sequence[FinishedRun], split: str, metrics: Callable[[Path], Sequence[Row]] = read_metrics
) -> Curves:
    """The `learning_curves` of each arm, from the rows of `metrics` by workdir."""
    rows: dict[str, list[Sequence[Row]]] = {}
    for run in runs:
        rows.setdefault(run.arm, []).append(metrics(run.workdir))
    return learning_curves(rows, split)


def minutes(rows: Sequence[Row], batch_size: int, steps: int) -> dict[int, float]:
    """Minutes of training until each logged step and the last one, without those of evaluations; {} if none is known.

    Args:
      rows: rows of metrics.jsonl of a run of so many steps.
    """
    pace = [(row["step"], row["images_per_second"]) for row in rows if "images_per_second" in row]
    if not pace:
        return {}
    logged, rates = np.transpose([*pace, (steps, pace[-1][1])])  # the last step need not be logged
    passed = np.cumsum(np.diff(logged, prepend=0) * batch_size / rates) / 60
    return dict(zip(logged.astype(int).tolist(), passed.tolist(), strict=True))


def learning_curves(groups: Mapping[str, Sequence[Sequence[Row]]], split: str) -> Curves:
    """Bits/dim in 'training' and in each 'evaluation' on `split`; see `curves_over_seeds`."""
    return curves_over_seeds(groups, {"training": "bpd", "evaluation": f"{split}{TOTAL}"})


def curves_over_seeds(groups: Mapping[str, Sequence[Sequence[Row]]], metrics: Mapping[str, str]) -> Curves:
    """Curves of `metrics`, by kind, for each group of runs; a run is given by its rows of metrics.

    A curve has the steps that all runs of its group have.
    """
    return {name: {kind: _curve(runs, metric) for kind, metric in metrics.items()} for name, runs in groups.items()}


def _curve(runs: Sequence[Sequence[Row]], metric: str) -> Points:
    by_step = [{int(row["step"]): row[metric] for row in rows if metric in row} for rows in runs]
    steps = sorted(set.intersection(*map(set, by_step)))
    return [(step, [values[step] for values in by_step]) for step in steps]

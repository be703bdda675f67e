"""Conclusions and their cautions: what is claimed from which values, and how often of equal models."""

import re

import numpy as np
import pytest

from diffenc_jax.evaluation.means import mean_of
from diffenc_jax.lab.stats.hypotheses import holm, paired_t, sign_flip, welch_t
from diffenc_jax.lab.studies.significance.headline import Fall, fall_of, headline

CLAIM = "a significant difference"


def compared(arm, values, reference, noise=0.0):
    """A comparison of two arms' values by seed, as in an analysis of these arms alone."""
    differences = values - reference
    tests = {}
    if len(values) > 1:
        tests = {o.name: o._asdict() for test in (paired_t, sign_flip, welch_t) for o in [test(values, reference)]}
        tests = {name: {**test, "holm_p_two_sided": test["p_two_sided"]} for name, test in tests.items()}
    spread = differences.std(ddof=1) if len(values) > 1 else None
    mean = mean_of(differences)
    return {
        "arm": arm,
        "reference": "vdm",
        "paired_seeds": list(range(len(values))),
        "mean": mean.mean,
        "interval": mean.interval,
        "tests": tests,
        "between_seeds": spread and {"between": spread, "noise": noise},
    }


def analysed(values, reference, noise=0.0, trivial=4.0, falls=()):
    values, reference = np.array(values), np.array(reference)
    arms = {"vdm": reference, "diffenc": values}
    return {
        "arms": {arm: {"bpd": dict(enumerate(of_arm))} for arm, of_arm in arms.items()},
        "comparisons": [compared("diffenc", values, reference, noise=noise)],
        "trivial": {"histogram": trivial, "uniform": 9.0},
        "falls": {arm: Fall(bpd, 150, True)._asdict() for arm, bpd in falls},
    }


def test_two_seeds_of_unfinished_models_support_no_claim():
    """Paired p 0.027 with one degree of freedom, by a spread below the noise; Welch and sign flips say otherwise."""
    vdm, difference = np.array([2.80, 2.83]), np.array([-0.0500, -0.0542])
    falls = [("vdm", 0.9), ("diffenc", 0.8)]
    found = headline(analysed(vdm + difference, vdm, noise=0.01, trivial=2.4302, falls=falls))
    (line,) = found.lines
    assert "diffenc lies 0.0521 bits/dim below vdm over 2 seeds" in line
    assert "too few seeds" in line
    assert not re.search("significant", " ".join(found.items))
    worse, disagree, narrow, unfinished = found.cautions
    assert all(part in worse for part in ("histogram: 2.4302", "vdm (2.8150)", "diffenc (2.7629)"))
    assert all(part in disagree for part in ("paired t p = 0.026", "permutation p = 0.50", "Welch t p = 0."))
    assert "diffenc (0.0030, noise 0.0100)" in narrow
    assert all(part in unfinished for part in ("vdm (by 0.9000 after step 150)", "diffenc (by 0.8000"))


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_are_never_called_significant(seeds):
    vdm = 1.8 + 1e-5 * np.arange(seeds + 1.0)[:seeds] ** 2
    analysis = analysed([3.0], [3.0])
    differing = compared("diffenc", vdm - 0.1 + 1e-7 * np.arange(seeds), vdm) if seeds else {"arm": "diffenc"}
    analysis["comparisons"] = [{"reference": "vdm", "paired_seeds": [], "tests": {}} | differing]
    assert not re.search("significant", " ".join(headline(analysis).items))


def test_five_seeds_of_good_finished_models_are_claimed_without_caution():
    vdm = np.array([1.83, 1.84, 1.85, 1.82, 1.81])
    found = headline(analysed(vdm - [0.031, 0.029, 0.032, 0.028, 0.030], vdm, falls=[("vdm", 0.002)]))
    assert CLAIM in found.lines[0]
    assert "over 5 seeds" in found.lines[0]
    assert found.cautions == []


def test_the_smallest_p_of_sign_flips_is_no_disagreement():
    """Five sign flips cannot reach 5 %; seven can, and disagree where they do not."""
    vdm = np.linspace(1.8, 1.8001, 7)
    differing = np.array([-0.031, -0.029, -0.032, -0.028, -0.030, -0.031, -0.029])
    assert headline(analysed(vdm[:5] + differing[:5], vdm[:5])).cautions == []
    assert headline(analysed(vdm + differing, vdm)).cautions == []
    differing[-2:] = 0.001  # paired t: p = 0.015; four of the 128 flips are as extreme on one side
    (text,) = headline(analysed(vdm + differing, vdm)).cautions
    assert "permutation p = 0.062" in text


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("arms", [2, 10])
def test_equal_models_are_seldom_called_different(seeds, arms):
    """Arms of one model, whose seeds have common and own effects: the share of studies with any claim."""
    studies, rng = 4000, np.random.default_rng(seeds)
    bits = rng.normal(size=(studies, 1, seeds)) + rng.normal(size=(studies, arms, seeds))
    ps = paired_t(bits[:, 1:], bits[:, :1].repeat(arms - 1, 1)).p_two_sided
    claims = 0
    for values, corrected in zip(bits, holm(ps), strict=True):
        near = [compared_quickly(values[i + 1] - values[0], corrected[i]) for i in range(arms - 1)]
        facts = {"arms": {}, "trivial": {"uniform": 9.0}, "falls": {}}
        claims += any(CLAIM in line for line in headline({"comparisons": near, **facts}).lines)
    assert claims / studies <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)
    assert claims > 0


def compared_quickly(differences, p):
    test = {"holm_p_two_sided": p, "p_two_sided": p, "df": len(differences) - 1}
    return {
        "arm": "b",
        "reference": "a",
        "paired_seeds": list(range(len(differences))),
        "mean": float(differences.mean()),
        "interval": (0.0, 1.0),
        "tests": {"paired t": test},
    }


def test_the_fall_is_that_of_evaluations_or_else_of_training_losses():
    evaluations = [(500, [2.5, 2.7]), (1000, [2.0, 2.2]), (1500, [1.9, 2.0])]
    losses = [(step, [3 - step / 1000]) for step in range(100, 1501, 100)]
    assert fall_of({"evaluation": evaluations, "training": losses}) == (pytest.approx(0.15), 1000, True)
    late = fall_of({"evaluation": evaluations[-1:], "training": losses})
    assert late == (pytest.approx(0.375, abs=0.05), 938, False)
    assert fall_of({"evaluation": [], "training": losses[-1:]}) is None
    assert fall_of({"evaluation": [], "training": []}) is None

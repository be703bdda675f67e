"""Conclusions and their cautions: what is claimed from which values, and how often of equal models."""

import dataclasses
import re

import numpy as np
import pytest

from diffenc_jax.lab.stats.components import Components
from diffenc_jax.lab.stats.hypotheses import holm, paired_t
from diffenc_jax.lab.studies.significance.analysis import Analysis, Comparison, CorrectedTest, analyse
from diffenc_jax.lab.studies.significance.curves import Fall
from diffenc_jax.lab.studies.significance.headline import headline
from tests.lab.studies.significance import made_up

CLAIM = "a significant difference"


def concluded(values, reference, noise=0.0, trivial=4.0, **falls):
    """The headline of two arms' values by seed; `noise` is that of their evaluations."""
    bound = {"histogram": trivial, "uniform": 9.0}
    falls = {arm: Fall(bpd, 150, True) for arm, bpd in falls.items()}
    analysis = analyse(made_up.finished(made_up.per_seed(vdm=reference, diffenc=values)), "vdm", 0.01, bound, falls)
    (comparison,) = analysis.comparisons
    parts = comparison.sd and Components(comparison.sd, noise, None)
    noisy = dataclasses.replace(comparison, between_seeds=parts)
    return headline(dataclasses.replace(analysis, comparisons=[noisy]))


def test_two_seeds_of_unfinished_models_support_no_claim():
    """Paired p 0.027 with one degree of freedom, by a spread below the noise; Welch and sign flips say otherwise."""
    vdm, difference = np.array([2.80, 2.83]), np.array([-0.0500, -0.0542])
    found = concluded(vdm + difference, vdm, noise=0.01, trivial=2.4302, vdm=0.9, diffenc=0.8)
    (line,) = found.lines
    assert "diffenc lies 0.0521 bits/dim below vdm over 2 seeds, on these images: too few seeds" in line
    worse, disagree, narrow, unfinished = found.cautions
    assert all(part in worse for part in ("histogram: 2.4302", "vdm (2.8150)", "diffenc (2.7629)"))
    assert all(part in disagree for part in ("paired t p = 0.026", "permutation p = 0.50", "Welch t p = 0."))
    assert "diffenc (0.0030, noise 0.0100)" in narrow
    assert all(part in unfinished for part in ("vdm (by 0.9000 after step 150)", "diffenc (by 0.8000"))


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_are_never_called_significant(seeds):
    vdm = 1.8 + 1e-5 * np.arange(seeds + 1.0) ** 2
    bits = made_up.per_seed(vdm=vdm[:seeds], diffenc=vdm[:seeds] - 0.1 + 1e-7 * np.arange(seeds))
    bits |= {} if seeds else {("vdm", 0): np.ones((1, 2)), ("diffenc", 1): np.ones((1, 2))}
    analysis = analyse(made_up.finished(bits), "vdm", 0.01, {"uniform": 9.0})
    assert not re.search("significant", " ".join(headline(analysis).items))


def test_five_seeds_of_good_finished_models_are_claimed_without_caution():
    vdm = np.array([1.83, 1.84, 1.85, 1.82, 1.81])
    found = concluded(vdm - [0.031, 0.029, 0.032, 0.028, 0.030], vdm, vdm=0.002)
    assert CLAIM in found.lines[0]
    assert "over 5 seeds" in found.lines[0]
    assert found.cautions == []


def test_the_smallest_p_of_sign_flips_is_no_disagreement():
    """Five sign flips cannot reach 5 %; seven can, and disagree where they do not."""
    vdm = np.linspace(1.8, 1.8001, 7)
    differing = np.array([-0.031, -0.029, -0.032, -0.028, -0.030, -0.031, -0.029])
    assert concluded(vdm[:5] + differing[:5], vdm[:5]).cautions == []
    assert concluded(vdm + differing, vdm).cautions == []
    differing[-2:] = 0.001  # paired t: p = 0.015; four of the 128 flips are as extreme on one side
    (text,) = concluded(vdm + differing, vdm).cautions
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
        near = [_compared(values[i + 1] - values[0], corrected[i]) for i in range(arms - 1)]
        analysis = Analysis("a", 0.01, False, [], {}, near, {"uniform": 9.0}, {})
        claims += any(CLAIM in line for line in headline(analysis).lines)
    assert 0 < claims / studies <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


def _compared(differences, p):
    test = CorrectedTest(0.0, len(differences) - 1, p, p, p, p)
    fields = {"n": len(differences), "mean": float(differences.mean()), "interval": (0.0, 1.0)}
    return Comparison(arm="b", reference="a", difference={}, tests={"paired t": test}, **fields)

"""Conclusions and their cautions: what is claimed from which values, and how often of equal models."""

import re

import numpy as np
import pytest

from diffenc_jax.lab.comparisons.significance.analysis import Analysis, Comparison, analyse
from diffenc_jax.lab.comparisons.significance.conclusions import cautions, conclusions
from diffenc_jax.lab.comparisons.significance.curves import Fall
from diffenc_jax.lab.stats.hypotheses import PAIRED_T, Outcome, holm, paired_t
from tests.lab.comparisons.significance import made_up

CLAIM = "a significant difference"


def analysed(values, reference, **falls):
    """The analysis of two arms' values by seed."""
    falls = {arm: Fall(bpd, 150) for arm, bpd in falls.items()}
    runs = made_up.finished(made_up.per_seed(vdm=reference, diffenc=values))
    return analyse(runs, "vdm", 0.01, falls)


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_are_never_called_significant(seeds):
    vdm = 1.8 + 1e-5 * np.arange(seeds + 1.0) ** 2
    bits = made_up.per_seed(vdm=vdm[:seeds], diffenc=vdm[:seeds] - 0.1 + 1e-7 * np.arange(seeds))
    bits |= {} if seeds else {("vdm", 0): np.ones((1, 2)), ("diffenc", 1): np.ones((1, 2))}
    analysis = analyse(made_up.finished(bits), "vdm", 0.01)
    assert not re.search("significant", " ".join([*conclusions(analysis), *cautions(analysis)]))


def test_a_claim_and_its_cautions():
    vdm = np.array([1.83, 1.84, 1.85, 1.82, 1.81])
    found = analysed(vdm - [0.031, 0.029, 0.032, 0.028, 0.030], vdm, vdm=0.002)
    assert CLAIM in conclusions(found)[0]
    assert "over 5 seeds" in conclusions(found)[0]
    assert cautions(found) == []
    (unfinished,) = cautions(analysed(vdm, vdm[::-1], vdm=0.9))
    assert "vdm (by 0.9000 after step 150)." in unfinished


@pytest.mark.parametrize(("seeds", "arms"), [(3, 2), (5, 10)])
def test_equal_models_are_seldom_called_different(seeds, arms):
    """Arms of one model, whose seeds have common and own effects: the share of studies with any claim."""
    studies, rng = 1500, np.random.default_rng(seeds)
    bits = rng.normal(size=(studies, 1, seeds)) + rng.normal(size=(studies, arms, seeds))
    ps = paired_t(bits[:, 1:], bits[:, :1].repeat(arms - 1, 1)).p_two_sided
    claims = 0
    for values, corrected in zip(bits, holm(ps), strict=True):
        near = [_compared(values[i + 1] - values[0], corrected[i]) for i in range(arms - 1)]
        analysis = Analysis("a", 0.01, False, [], {}, near, {})
        claims += any(CLAIM in line for line in conclusions(analysis))
    assert 0 < claims / studies <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


def _compared(differences, p):
    tests = {PAIRED_T: Outcome(PAIRED_T, 0.0, len(differences) - 1, p, p, p)}
    fields = {"n": len(differences), "mean": float(differences.mean()), "interval": (0.0, 1.0)}
    return Comparison(arm="b", reference="a", difference={}, tests=tests, corrected={PAIRED_T: p}, **fields)

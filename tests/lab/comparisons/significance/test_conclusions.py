"""Conclusions and their cautions: what is claimed from which values, and how often of equal models."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.lab.comparisons.significance.analysis import Analysis, Comparison, Findings, analyse
from diffenc_jax.lab.comparisons.significance.conclusions import cautions, conclusions
from diffenc_jax.lab.comparisons.significance.curves import Fall
from diffenc_jax.lab.stats.hypotheses import PAIRED_T, Outcome, holm, paired_t
from diffenc_jax.train.optimizers import ema_decay
from tests.lab.comparisons.significance import made_up

CLAIM = "a significant difference"


def analysed(values, reference, **falls):
    """Findings about two arms' values by seed."""
    falls = {arm: Fall(bpd, 150) for arm, bpd in falls.items()}
    runs = made_up.finished(made_up.per_seed(vdm=reference, diffenc=values))
    return Findings(analyse(runs, "vdm", 0.01, falls), runs, [])


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_are_never_called_significant(seeds):
    vdm = 1.8 + 1e-5 * np.arange(seeds + 1.0) ** 2
    bits = made_up.per_seed(vdm=vdm[:seeds], diffenc=vdm[:seeds] - 0.1 + 1e-7 * np.arange(seeds))
    bits |= {} if seeds else {("vdm", 0): np.ones((1, 2)), ("diffenc", 1): np.ones((1, 2))}
    analysis = analyse(made_up.finished(bits), "vdm", 0.01)
    assert "significant" not in " ".join(conclusions(analysis))


def test_a_claim_and_its_cautions():
    vdm = np.array([1.83, 1.84, 1.85, 1.82, 1.81])
    found = analysed(vdm - [0.031, 0.029, 0.032, 0.028, 0.030], vdm, vdm=0.002)
    assert CLAIM in conclusions(found.analysis)[0]
    assert "over 5 seeds" in conclusions(found.analysis)[0]
    assert cautions(found) == []
    (unfinished,) = cautions(analysed(vdm, vdm[::-1], vdm=0.9))
    assert "vdm (by 0.9000 after step 150)." in unfinished


@pytest.mark.parametrize(
    ("decay", "warmup", "steps"),
    [(0.99, False, 200), (0.99, False, 1500), (0.9999, False, 9000), (0.9999, True, 200), (0.9, True, 5000)],
)
def test_a_long_average_is_a_caution(decay, warmup, steps):
    """One that averages parameters which are, in the mean, older than a tenth of the training."""
    found, mean_age = analysed(np.ones(3), np.ones(3)), 0.0
    config = found.runs[0].config.replace({"train.ema_decay": decay, "train.ema_warmup": warmup, "train.steps": steps})
    for rate in np.broadcast_to(ema_decay(config.train, jnp.arange(float(steps))), steps).tolist():
        mean_age = rate * (mean_age + 1)
    runs = [run._replace(config=config) if run.arm == "vdm" else run for run in found.runs]
    said = " ".join(cautions(found._replace(runs=runs)))
    assert (f"vdm ({1 / (1 - decay):,.0f} of {steps:,} steps)" in said) == (mean_age > 0.1001 * steps)


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

"""Conclusions and their cautions: what is claimed from which values."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.evaluation.uncertainty import standard_errors
from diffenc_jax.lab.comparisons.significance.analysis import analyse
from diffenc_jax.lab.comparisons.significance.summary import cautions, conclusions
from diffenc_jax.train.optimizers import ema_decay
from tests.lab.comparisons.significance import made_up

VDM = np.array([1.83, 1.84, 1.85, 1.82, 1.81])  # bits/dim by seed


def analysed(values, reference, **falls):
    """The analysis of two arms' values by seed; evaluations fall since step 150 by so much."""
    curves = {arm: {"evaluation": [(150, [bpd]), (200, [0.0])]} for arm, bpd in falls.items()}
    return of(made_up.finished(made_up.per_seed(vdm=reference, diffenc=values)), curves)


def of(runs, curves=None):
    """The analysis of finished runs; vdm is the reference."""
    return analyse(runs, "vdm", 0.01, curves)


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_are_never_called_significant(seeds):
    vdm = 1.8 + 1e-5 * np.arange(seeds + 1.0) ** 2
    bits = made_up.per_seed(vdm=vdm[:seeds], diffenc=vdm[:seeds] - 0.1 + 1e-7 * np.arange(seeds))
    bits |= {} if seeds else {("vdm", 0): np.ones((1, 2)), ("diffenc", 1): np.ones((1, 2))}
    assert "significant" not in " ".join(conclusions(of(made_up.finished(bits))))


def test_a_claim_and_its_cautions():
    found = analysed(VDM - [0.031, 0.029, 0.032, 0.028, 0.030], VDM, vdm=0.002)
    (line,) = conclusions(found)
    assert "over 5 seeds, on these images: a significant difference" in line
    assert cautions(found) == []
    (unfinished,) = cautions(analysed(VDM, VDM[::-1], vdm=0.9))
    assert "vdm (by 0.9000 after step 150);" in unfinished
    for run in found.runs:
        run.evaluation.record["estimator"]["seed"] = 0
    (shared,) = cautions(of(found.runs))
    assert "share the noise" in shared


@pytest.mark.parametrize("apart", [0.1, 0.0])
def test_nothing_is_concluded_while_there_are_cautions(apart):
    """The sentence keeps the difference, its interval and its p."""
    values = VDM + apart + [0.001, -0.001, 0.002, -0.002, 0.0001]
    plain, limited = analysed(values, VDM), analysed(values, VDM, diffenc=0.9)
    ((claim,), (line,)) = conclusions(plain), conclusions(limited)
    p = claim.partition("(paired t test, ")[2]
    assert "significant" in claim
    assert "significant" not in line
    assert line.startswith(claim.partition(":")[0])
    assert f" on these images (paired t test, {p} " in line


def test_a_model_that_is_worse_than_uniform_is_a_caution():
    """The digits have 17 levels, real numbers have no bound."""
    found = analysed([4.08, 4.09, 4.08], [1.8, 1.9, 1.8])
    assert [line for line in cautions(found) if "diffenc, seed 1 (4.0900, uniform 4.0875);" in line]
    assert "diffenc, seed 0" not in " ".join(cautions(found))
    real = {"data.pixel_levels": None, "model.decoder.kind": "gaussian", "log.samples": 0}
    runs = [run._replace(config=run.config.replace(real)) for run in found.runs]
    assert cautions(of(runs)) == []


def test_regrets_are_paired_by_image_and_an_impossible_one_is_a_caution():
    """Bits/dim of two images by two seeds; the truth is below vdm and above diffenc."""
    values = {("vdm", 0): [[1.0, 2.0]], ("vdm", 1): [[1.2, 2.4]], ("diffenc", 0): [[0.5, 1.4]]}
    runs, true = made_up.finished({key: np.array(bits) for key, bits in values.items()}), np.array([0.8, 1.6])
    for number, run in enumerate(runs):
        record, bits = run.evaluation.record, run.evaluation.bits
        record["dataset"]["true_bpd"] = true.mean()
        record["regret"] = {"bpd": (bits - true).mean(), **standard_errors(bits - true, None)._asdict()}
        runs[number] = run._replace(evaluation=run.evaluation._replace(true_bits=true))
    analysis = of(runs)
    vdm, diffenc = (analysis.arms[arm].regret for arm in ("vdm", "diffenc"))
    assert (vdm.bpd, vdm.mean) == (pytest.approx({0: 0.3, 1: 0.6}), pytest.approx(0.3))  # over the common seed
    assert (vdm.images, diffenc.images) == pytest.approx((0.1, 0.05))
    assert any("below the truth" in line and "diffenc, seed 0 (by 0.2500);" in line for line in cautions(analysis))


def test_a_claim_reads_the_corrected_test():
    """p is 0.028, and twice that beside another arm."""
    arms = {"vdm": VDM, "diffenc": VDM - [0.01, 0.02, 0.03, 0.01, 0.005]}
    (alone,) = conclusions(of(made_up.finished(made_up.per_seed(**arms))))
    other = VDM + np.array([0.01, -0.01, 0.02, -0.02, 0.001])
    both = conclusions(of(made_up.finished(made_up.per_seed(**arms, nontrainable=other))))
    assert ["a significant difference" in line for line in (alone, *both)] == [True, False, False]


AVERAGES = [(0.99, False, 200), (0.99, False, 1500), (0.9999, False, 9000), (0.9999, True, 200), (0.9, True, 5000)]


@pytest.mark.parametrize(("decay", "warmup", "steps"), AVERAGES)
def test_a_long_average_is_a_caution(decay, warmup, steps):
    """One that averages parameters which are, in the mean, older than a tenth of the training."""
    found, mean_age = analysed(np.ones(3), np.ones(3)), 0.0
    config = found.runs[0].config.replace({"train.ema_decay": decay, "train.ema_warmup": warmup, "train.steps": steps})
    for rate in np.broadcast_to(ema_decay(config.train, jnp.arange(float(steps))), steps).tolist():
        mean_age = rate * (mean_age + 1)
    runs = [run._replace(config=config) if run.arm == "vdm" else run for run in found.runs]
    said = " ".join(cautions(replace(found, runs=runs)))
    assert (f"vdm ({1 / (1 - decay):,.0f} steps, trained for {steps:,})" in said) == (mean_age > 0.1001 * steps)

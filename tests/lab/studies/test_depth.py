"""The excess of finite depths from evaluations, and that the study keeps its records and samples with its steps."""

import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.depth import Arguments, excess_of, steps_of
from diffenc_jax.runs.records import Evaluation, read_evaluation
from tests import refusals

CHOICES = Arguments().choices


def evaluation(bits, replicates):
    return Evaluation(None, {"estimator": {"replicates": replicates}}, np.array(bits))


def test_excess_and_the_part_that_is_kept():
    """Made-up values at the depths 5 and 10, with errors paired by image.

    The differences by image are 0.1, 0.1 and -0.2 around their mean, with a variance of 0.03.
    """
    infinite = evaluation([[1.9, 1.9, 2.2], [1.9, 1.9, 2.2]], 2)
    bpd = dict(zip(CHOICES, (3.0, 2.5, 2.4, 2.25, 2.3, 2.125), strict=True))
    bits = {(depth, name): 2 + (one - 2) * 10 / depth for depth in (5, 10) for name, one in bpd.items()}
    found = excess_of(infinite, {key: evaluation([[one] * 3], None) for key, one in bits.items()})
    for row, ((depth, name), one) in zip(found.rows, bits.items(), strict=True):
        assert (row["depth"], row["choice"]) == (depth, name)
        assert (row["excess"], row["kept"], row["excess_se"]) == pytest.approx((one - 2, bpd[name] - 2, 0.1))
    (table,) = found.tables()
    assert table.rows[8] == [10, "optimal_pixel", "2.4000", "0.4000 ± 0.1000", "0.40"]
    assert table.caption.endswith("; infinite depth: 2.0000")
    assert found.sentence() == "excess kept at T=10: 0.12"


def test_records_hold_what_was_measured(home):
    options = {"depths": (3,), "choices": ("optimal_pixel",), "passes": 4}
    result = studies.measure("depth-study", home / "vdm", {"eval.seed": 7, "fit.images": 8}, **options).result
    evaluations = [read_evaluation(path) for path in (home / "vdm" / "depth-records").glob("*.json")]
    assert {one.record["estimator"]["seed"] for one in evaluations} == {7}
    assert {one.record["estimator"]["fit"]["images"] for one in evaluations if "fit" in one.record["estimator"]} == {8}
    by_steps = {}
    for one in evaluations:
        estimator = one.record["estimator"]
        by_steps[estimator["depth"], estimator.get("times", "uniform"), estimator["variance_ratio"]] = one
    infinite = by_steps.pop((None, "uniform", 1.0))
    assert len(by_steps) == 2
    assert result == excess_of(infinite, {(3, name): by_steps[3, *steps_of(name)] for name in ("1", "optimal_pixel")})
    assert steps_of("optimal_pixel+times") == ("optimal", "optimal_pixel")


def test_a_choice_that_needs_a_head_is_refused(home, capsys):
    error = refusals.refused(main, ["depth-study", home / "vdm", "--choices=learned_error"], capsys)
    assert "loss.variance_ratio=learned_error needs the error head" in error

"""Trained runs of a tiny model, evaluated and sampled at depths and ratios of all kinds."""

import numpy as np
import pytest

import diffenc_jax as dj
from tests import tiny
from tests.train.running import train


def config(images, arm="diffenc", **changes):
    return tiny.config(arm, small=True, **{"data__source": images, **changes})


def evaluate(config, workdir):
    """The record and the arrays of the newest checkpoint."""
    run = dj.open(workdir, config=config)
    path, record, *_ = run.evaluator.record(run.params, run.checkpoint, run.stored)
    with np.load(path.with_suffix(".npz")) as arrays:
        return record, dict(arrays)


@pytest.mark.slow
def test_a_run_is_evaluated_and_sampled_at_any_depth(unbroken, images):
    """At a constant ratio, and with everything that is fitted."""
    fitted = {"loss__depth": 3, "loss__variance_ratio": "optimal_pixel", "loss__times": "optimal"}
    plain = {"loss__depth": 5, "eval__time_sampling": "uniform"}
    changes = {"plain": plain, "ratio": plain | {"loss__variance_ratio": 0.9}, "fitted": fitted}
    bits = {}
    for name, change in changes.items():
        record, _ = evaluate(config(images, **change), unbroken)
        assert record["config_hash"] == config(images).hash
        bits[name] = record["bpd"]
    # Under the same noise a ratio w changes the cost of a step from u/2 to (w - 1 - ln w + w u)/2 per dimension.
    shift = 5 * (0.9 - 1 - np.log(0.9)) / (2 * np.log(2))
    assert bits["ratio"]["diffusion"] == pytest.approx(0.9 * bits["plain"]["diffusion"] + shift, rel=1e-4)
    assert bits["fitted"]["total"] < bits["plain"]["total"]
    assert dj.open(unbroken, config=config(images, **fitted)).sample(num=2).shape == (2, 4, 4, 1)


@pytest.mark.slow
def test_a_learned_ratio_is_trained_evaluated_and_sampled(images, tmp_path):
    learned = {"loss__depth": 4, "loss__variance_ratio": "learned", "sample__depth": 4, "train__steps": 3}
    _, record = train(config(images, "vdm", **learned), tmp_path / "run")
    assert record["estimator"]["variance_ratio"] == "learned"
    assert np.isfinite(record["bpd"]["total"])
    _, arrays = evaluate(config(images, "vdm", **learned), tmp_path / "run")
    # The error of a step is far above 1 at first, so that its ratio falls.
    assert np.all(arrays["ratio"] < 1)
    assert dj.open(tmp_path / "run").sample(num=2).shape == (2, 4, 4, 1)

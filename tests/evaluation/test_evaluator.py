"""Evaluation of a whole split: its record, its independence of the batch, and going on where it stopped."""

import json
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.evaluation import evaluator as evaluators
from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.uncertainty import standard_errors
from diffenc_jax.runs.records import read_evaluation, read_values
from diffenc_jax.runs.stored import StoredRun
from tests import tiny
from tests.evaluation import gaussian
from tests.evaluation.subject import SPLITS, parameters, run_with


def test_a_summary_has_the_means_and_errors_of_its_terms():
    """An estimator has two terms, and four passes in two groups."""
    estimator = SimpleNamespace(terms=("a", "b"), replicates=2, diagnostics=lambda v: {"largest": v["c"].max()})
    a = np.log(2) * 10 * np.asarray([[0.0, 4.0], [2.0, 6.0], [0.0, 4.0], [2.0, 10.0]])
    values = {"a": a, "b": np.full((4, 2), np.log(2) * 20), "c": a}
    summary = evaluators.summarize(values, estimator, dims=10)
    assert summary["bpd"] == pytest.approx({"total": 5.5, "a": 3.5, "b": 2.0})
    # Groups' means: 0 and 2 for the first image, 4 and 8 for the second: variances 2 and 8; images' means 1 and 6.
    noise, total = np.sqrt((2 + 8) / 2 / 4), np.sqrt(12.5 / 2)
    errors = {"noise": pytest.approx(noise), "images": None, "total": pytest.approx(total)}  # two images tell little
    terms = summary["standard_error"].pop("terms")
    assert summary["standard_error"] == terms["a"] == errors
    assert terms["b"] == {"noise": pytest.approx(0.0), "images": None, "total": pytest.approx(0.0)}
    assert summary["largest"] == pytest.approx(100 * np.log(2))


def evaluator(folder, log_prob=None, **changes):
    """An evaluator of four passes, for the run in `folder`."""
    subject = run_with("diffenc", **{"eval__passes": 4, **changes})
    subject = subject.changed(dataset=tiny.dataset(SPLITS, log_prob=log_prob))
    StoredRun(folder).write(subject.config)
    return evaluators.Evaluator(subject)


def evaluate(folder, **changes):
    """The record, and its values and tables."""
    ours = evaluator(folder, **changes)
    path, record, *_ = ours.record(parameters(), 1, StoredRun(folder))
    return record, read_values(path)


def test_the_regret_is_what_lies_above_the_truth(tmp_path):
    """The sum of the terms minus the known truth of each image; without a truth there is none."""
    plain, _ = evaluate(tmp_path / "plain")
    ours = evaluator(tmp_path / "true", lambda images: -images.mean(axis=(1, 2, 3), dtype=float))
    path, record, bits, true = ours.record(parameters(), 1, StoredRun(tmp_path / "true"))
    images = ours.run.dataset.split("test").data
    np.testing.assert_allclose(true, images.mean(axis=(1, 2, 3)) / (images[0].size * np.log(2)))
    assert record["dataset"]["true_bpd"] == pytest.approx(true.mean(), abs=1e-6)
    regret = {"bpd": (bits - true).mean(), **standard_errors(bits - true, record["estimator"]["replicates"])._asdict()}
    assert record["regret"] == pytest.approx(regret)
    np.testing.assert_array_equal(read_evaluation(path).true_bits, true)
    assert plain["bpd"] == record["bpd"]
    assert not {"regret", "true_bpd"} & (plain.keys() | plain["dataset"].keys())


WRONG = {
    "it gives [13, 4]": lambda images: np.zeros(images.shape[:2]),
    "it gives [nan] for example 3": lambda images: np.where(np.arange(len(images)) == 3, np.nan, 0),
    "division by zero": lambda images: 1 / 0,
}


@pytest.mark.parametrize("why", WRONG)
def test_a_wrong_truth_is_refused(why, tmp_path):
    with pytest.raises(InputError, match=re.escape("tiny (test): log_prob")) as error:
        evaluator(tmp_path, WRONG[why]).evaluate(parameters())
    assert why in str(error.value)


def test_values_do_not_depend_on_the_batch(tmp_path):
    """One by one, and by 8: the value of each of 13 images to 1e-5 nats and 1e-5 relative."""
    one, eight = (evaluate(tmp_path / str(size), eval__batch_size=size)[1] for size in (1, 8))
    for term in Bound.terms:
        np.testing.assert_allclose(one[term], eight[term], rtol=1e-5, atol=1e-5)


def test_an_interrupted_evaluation_resumes(tmp_path, monkeypatch):
    """Interrupted after three of eight batches; the rest is computed, to the same record."""

    def count(folder, stop_at=None):
        calls, estimated = [], []
        ours = evaluator(folder)
        estimate = ours.estimator.estimate
        monkeypatch.setattr(ours.estimator, "estimate", lambda *a: estimated.append(a[-1]) or estimate(*a))

        def on_batch():
            calls.append(None)
            if len(calls) == stop_at:
                raise KeyboardInterrupt

        try:
            record = ours.record(parameters(), 1, StoredRun(folder), on_batch=on_batch).record
        except KeyboardInterrupt:
            record = None
        return record, len(estimated), len(calls)

    complete, estimated, calls = count(tmp_path / "complete")
    assert (estimated, calls) == (8, 8) == (8, evaluator(tmp_path / "complete").num_batches())
    stopped, first, _ = count(tmp_path / "run", stop_at=3)
    assert stopped is None
    (left,) = (tmp_path / "run" / "eval").iterdir()
    assert left.name.endswith(".partial.npz")
    record, second, calls = count(tmp_path / "run")
    assert (second, calls) == (5, 8)
    assert first < 8
    same = ("bpd", "standard_error", "estimator", "dataset")
    assert {key: record[key] for key in same} == {key: complete[key] for key in same}
    ours, theirs = (read_values(next((tmp_path / name / "eval").glob("*.json"))) for name in ("run", "complete"))
    np.testing.assert_equal(ours, theirs)
    assert sorted(p.suffix for p in (tmp_path / "run" / "eval").iterdir()) == [".json", ".npz"]
    assert count(tmp_path / "run")[1:] == (0, 0)


def test_the_record_names_the_augmentation_of_the_training():
    changes = {"eval__passes": 2, "eval__time_sampling": "uniform"}
    augmented = {"train__augment": "flip", **changes}
    runs = [changes, augmented, augmented | {"model__augmentation": True}]
    plain, *others = (evaluators.Evaluator(gaussian.run_with(**each)).evaluate(gaussian.PARAMS) for each in runs)
    assert "augmentation" not in plain
    for found, entry in zip(others, ("flip", "flip, conditioned"), strict=True):
        assert found["augmentation"] == entry
        assert found["estimator"] == plain["estimator"]
        np.testing.assert_allclose(found["bpd"]["total"], plain["bpd"]["total"], rtol=1e-6)


def test_a_record_has_its_evidence(tmp_path):
    """The one in memory is the same, but for the file of values."""
    ours = evaluator(tmp_path)
    path, on_disk, bits_of_all, _ = ours.record(parameters(), 1, StoredRun(tmp_path))
    in_memory = ours.evaluate(parameters(), 1)
    digest = {"values_sha256": on_disk["values_sha256"]}
    assert in_memory | digest | {"seconds": 0} == on_disk | {"seconds": 0}
    record, values = json.loads(path.read_text()), read_values(path)
    assert record["config_hash"] == ours.run.config.hash
    assert record["estimator"]["time_sampling"] == "importance"
    assert record["estimator"]["fit"]["split"] == "train"
    assert values["mass"].sum() == pytest.approx(1.0)
    bits = {term: values[term].mean() / (16 * np.log(2)) for term in ("reconstruction", "latent", "diffusion")}
    assert record["bpd"] == pytest.approx(bits | {"total": sum(bits.values())})
    assert bits_of_all.mean() == pytest.approx(record["bpd"]["total"])
    for again in (read_evaluation(path), ours.record(parameters(), 1, StoredRun(tmp_path))):
        assert again[:2] == (path, on_disk)
        np.testing.assert_array_equal(again.bits, bits_of_all)


def test_a_record_is_of_its_parameters_and_parts(tmp_path, monkeypatch):
    """As when a step is trained again on a path that ends elsewhere, or an estimator of one's own is edited."""
    ours, params = evaluator(tmp_path, eval__passes=2), parameters()
    other = jax.tree.map(lambda leaf: np.float32(1.5) * np.asarray(leaf), params)
    run = StoredRun(tmp_path)
    (path, first, *_), (_, second, *_) = (ours.record(each, 1, run) for each in (params, other))
    assert first["params_sha256"] != second["params_sha256"]
    assert first["bpd"]["total"] != second["bpd"]["total"]
    assert ours.record(params, 1, run).record == first
    seen = {path}
    for digest in ("0a", "0b"):
        monkeypatch.setattr(evaluators, "outside_parts", lambda *given, digest=digest: {"eval.estimator": digest})
        seen.add(evaluators.Evaluator(ours.run).record(params, 1, run).path)
    assert len(seen) == 3


def test_a_variant_has_a_record_of_its_own_and_the_given_tables(tmp_path):
    ours, mass = evaluator(tmp_path), jnp.asarray([0.25, 0.75])
    plain = ours.record(parameters(), 1, StoredRun(tmp_path)).record
    called = []
    for _ in range(2):  # the second time the record is there, and the tables are not needed
        other = evaluators.Evaluator(ours.run, folder="study", variant="identity")
        given = {"tables": lambda: called.append(1) or {"mass": mass}}
        path, variant, *_ = other.record(parameters(), 1, StoredRun(tmp_path), **given)
    assert path.parent.name == "study"
    assert len(called) == 1
    assert path.name.startswith("test-1-continuous-identity-")
    assert json.loads(path.read_text()) == variant
    assert variant["estimator"] == plain["estimator"] | {"encoder": "identity"}
    np.testing.assert_array_equal(read_values(path)["mass"], mass)

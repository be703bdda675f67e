"""Evaluation of a whole split: its record, its independence of the batch, and going on where it stopped."""

import json

import jax
import numpy as np
import pytest

from diffenc_jax.data.dataset import Dataset
from diffenc_jax.errors import InputError
from diffenc_jax.evaluate import Evaluator, summarize
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.records import format_record, format_terms
from diffenc_jax.train import sharding
from diffenc_jax.workdir import claim
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)
SPLITS = {"train": tiny.images(20), "test": tiny.images(13, seed=1)}


class Fixed:
    """An estimator of which only the shape of the evaluation matters: two terms, four passes, two groups."""

    terms, replicates, name, passes = ("a", "b"), 2, "fixed", 4

    def remarks(self, values):
        return {"remark": float(values["c"].max())}


def test_summary_against_a_by_hand():
    a = np.log(2) * 10 * np.asarray([[0.0, 4.0], [2.0, 6.0], [0.0, 4.0], [2.0, 10.0]])
    values = {"a": a, "b": np.full((4, 2), np.log(2) * 20), "c": a}
    summary = summarize(values, Fixed(), dims=10)
    assert summary["bpd"] == pytest.approx({"total": 5.5, "a": 3.5, "b": 2.0})
    # Groups' means: 0 and 2 for the first image, 4 and 8 for the second: variances 2 and 8; images' means 1 and 6.
    noise, total = np.sqrt((2 + 8) / 2 / 4), np.sqrt(12.5 / 2)
    errors = {"noise": noise, "images": np.sqrt(total**2 - noise**2), "total": total}
    terms = summary["standard_error"].pop("terms")
    assert summary["standard_error"] == pytest.approx(errors)
    assert terms["a"] == pytest.approx(errors)
    assert terms["b"] == pytest.approx(dict.fromkeys(errors, 0.0))
    assert summary["remark"] == pytest.approx(100 * np.log(2))
    record = summary | {"standard_error": summary["standard_error"] | {"terms": terms}}
    assert format_record(record) == "5.5000 ± 1.1180 (noise) ± 2.2361 (images) bits/dim"
    assert dict(format_terms(record))["b"] == "2.0000 ± 0.0000 (noise) ± 0.0000 (images)"


def test_one_pass_knows_nothing_of_its_noise():
    class Once(Fixed):
        terms, replicates, passes = ("c",), None, 1

    summary = summarize({"c": np.log(2) * 10 * np.asarray([[1.0, 3.0]])}, Once(), dims=10)
    errors = summary["standard_error"]
    assert (errors["noise"], errors["images"], errors["total"]) == (None, None, pytest.approx(1.0))
    assert format_record(summary) == "2.0000 ± 1.0000 (images and noise) bits/dim"


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """A model none of whose parameters is zero, and a workdir that says it is its run's."""
    config = tiny.config("diffenc", eval__passes=4)
    model = build(config, SPEC)
    rng = np.random.RandomState(0)
    fresh = jax.jit(model.init)(jax.random.key(0))
    params = jax.tree.map(lambda p: p + 0.05 * rng.normal(size=p.shape).astype(np.float32), fresh)
    return model, params


def evaluator(subject, folder, **changes):
    config = tiny.config("diffenc", **{"eval__passes": 4, **changes})
    claim(folder, config)
    return Evaluator(subject[0], config, Dataset("tiny", "1", tiny.LEVELS, SPLITS), sharding.make_mesh())


def values_of(folder):
    with np.load(folder / "eval" / "test-1-continuous.npz") as archive:
        return dict(archive)


def test_values_do_not_depend_on_the_batch(subject, tmp_path):
    """One by one, and by 7: each of 13 images' value to 1e-5 relative."""
    totals = []
    for size in (1, 7):
        folder = tmp_path / str(size)
        evaluator(subject, folder, eval__batch_size=size).record(subject[1], 1, folder)
        values = values_of(folder)
        totals.append(values["reconstruction"] + values["latent"] + values["diffusion"])
    for other in totals[1:]:
        np.testing.assert_allclose(other, totals[0], rtol=1e-5)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(subject, tmp_path, monkeypatch):
    """Stopped after three of eight batches, by an exception; the rest is computed, to the same record."""

    def count(folder, stop_at=None):
        calls, estimated = [], []
        ours = evaluator(subject, folder)
        estimate = ours.estimator.estimate
        monkeypatch.setattr(ours.estimator, "estimate", lambda *a: estimated.append(a[-1]) or estimate(*a))

        def on_batch():
            calls.append(None)
            if len(calls) == stop_at:
                raise KeyboardInterrupt

        try:
            return ours.record(subject[1], 1, folder, on_batch=on_batch), len(estimated), len(calls)
        except KeyboardInterrupt:
            return None, len(estimated), len(calls)

    whole, estimated, calls = count(tmp_path / "whole")
    assert (estimated, calls) == (8, 8)
    stopped, first, _ = count(tmp_path / "run", stop_at=3)
    assert stopped is None
    (left,) = (tmp_path / "run" / "eval").iterdir()
    assert left.name.endswith(".unfinished.npz")
    record, second, calls = count(tmp_path / "run")
    assert (second, calls) == (5, 8)
    assert first < 8
    same = ("bpd", "standard_error", "estimator", "dataset", "variance_kept")
    assert {key: record[key] for key in same} == {key: whole[key] for key in same}
    ours, theirs = values_of(tmp_path / "run"), values_of(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert sorted(p.suffix for p in (tmp_path / "run" / "eval").iterdir()) == [".json", ".npz"]
    assert count(tmp_path / "run")[1:] == (0, 0)
    next((tmp_path / "run" / "eval").glob("*.npz")).unlink()  # a record is worth nothing without its values
    assert count(tmp_path / "run")[1:] == (8, 8)


def test_where_nothing_can_be_written_nothing_is_evaluated(subject, tmp_path):
    (tmp_path / "eval").touch()
    called = []
    with pytest.raises(InputError, match=r"eval cannot be written to: File exists; give another --workdir"):
        evaluator(subject, tmp_path).record(subject[1], 1, tmp_path, on_batch=lambda: called.append(None))
    assert not called


def test_what_is_left_of_another_evaluation_is_not_gone_on_with(subject, tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator(subject, tmp_path, eval__seed=1).record(subject[1], 1, tmp_path, on_batch=stop)
    (left,) = (tmp_path / "eval").iterdir()
    record = evaluator(subject, tmp_path, eval__seed=2).record(subject[1], 1, tmp_path)
    assert record["estimator"]["seed"] == 2
    assert left.exists()
    left.write_bytes(left.read_bytes()[:100])  # cut short: begun anew
    again = evaluator(subject, tmp_path, eval__seed=1).record(subject[1], 1, tmp_path)
    assert again["estimator"]["seed"] == 1
    assert np.isfinite(values_of(tmp_path)["diffusion"]).all()
    assert not left.exists()


def test_a_record_carries_its_evidence(subject, tmp_path):
    evaluator(subject, tmp_path).record(subject[1], 1, tmp_path)
    record = json.loads((tmp_path / "eval" / "test-1-continuous.json").read_text())
    values = values_of(tmp_path)
    assert record["dataset"]["dims"] == 16
    assert len(record["dataset"]["sha256_any_order"]) == 64
    assert record["estimator"]["time_sampling"] == "importance"
    assert record["estimator"]["replicates"] == 2
    assert record["estimator"]["fit"]["split"] == "train"
    assert record["variance_kept"] > 0
    assert values["mass"].sum() == pytest.approx(1.0)
    assert values["t"].shape == values["weight"].shape == (4, 13)
    bits = {term: values[term].mean() / (16 * np.log(2)) for term in ("reconstruction", "latent", "diffusion")}
    assert record["bpd"] == pytest.approx(bits | {"total": sum(bits.values())})


@pytest.mark.slow
def test_the_networks_compute_in_what_evaluation_asks_for(subject, tmp_path, monkeypatch):
    """Whatever they were trained in; 'float32' leaves no product to TF32 or bfloat16."""
    model, params = subject
    rounding = build(tiny.config("diffenc", model__dtype="bfloat16"), SPEC)
    values, precision = {}, {}
    for case, trained, dtype in (
        ("as trained", model, None),
        ("float32", rounding, "float32"),
        ("bfloat16", model, "bfloat16"),
        ("as trained, bfloat16", rounding, None),
    ):
        ours, seen = evaluator((trained, params), tmp_path / case, eval__dtype=dtype), set()
        estimate = ours.estimator.estimate
        monkeypatch.setattr(
            ours.estimator,
            "estimate",
            lambda *a, seen=seen, of=estimate: seen.add(jax.config.jax_default_matmul_precision) or of(*a),
        )
        assert ours.record(params, 1, tmp_path / case)["estimator"]["dtype"] == dtype
        name = "test-1-continuous" + (f"-{dtype}" if dtype else "")
        with np.load(tmp_path / case / "eval" / f"{name}.npz") as archive:
            values[case], precision[case] = archive["diffusion"], seen
    assert precision == {case: {"highest" if case == "float32" else None} for case in values}
    np.testing.assert_allclose(values["float32"], values["as trained"], rtol=1e-5)
    np.testing.assert_array_equal(values["bfloat16"], values["as trained, bfloat16"])
    assert np.all(values["bfloat16"] != values["as trained"])


def test_an_unknown_dtype_is_refused(subject, tmp_path):
    with pytest.raises(InputError, match=r"unknown eval\.dtype 'float16'; known: bfloat16, float32"):
        evaluator(subject, tmp_path, eval__dtype="float16")

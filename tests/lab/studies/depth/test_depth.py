"""The excess of finite depths from evaluations, and that the study keeps its records and samples with its steps."""

import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.evaluation.fit import steps_for
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.depth.measure import INFINITE, excess_of, steps_of, studied
from diffenc_jax.lab.studies.depth.study import PLAIN
from diffenc_jax.runs.records import Evaluation, read_evaluation
from diffenc_jax.runs.trained import open_trained
from diffenc_jax.runs.workdir import stored_config
from tests import refusals
from tests.lab.studies.runs import write_images, write_run

BPD = dict(zip(studied(False), (3.0, 2.5, 2.4, 2.25, 2.3, 2.125), strict=True))  # by choice


def evaluation(bits, replicates):
    return Evaluation(None, {"estimator": {"replicates": replicates}}, np.array(bits))


@pytest.fixture
def found():
    """Made-up values at depth 10: two passes at infinite depth, and one at finite depth."""
    infinite = evaluation([[1.9, 1.9, 2.2], [1.9, 1.9, 2.2]], 2)
    return excess_of({INFINITE: infinite} | {(10, name): evaluation([[bpd] * 3], None) for name, bpd in BPD.items()})


def test_kept_is_the_part_of_the_plain_excess(found):
    by_choice = found.by_depth()[10]
    assert by_choice["optimal_pixel+times"]["kept"] == pytest.approx(0.25)
    assert by_choice[PLAIN]["kept"] == pytest.approx(1.0)
    assert by_choice["optimal_pixel"]["excess"] == pytest.approx(0.4)
    assert found.sentence() == "excess kept at T=10: 0.12"


def test_errors_are_paired_by_image(found):
    """The differences by image are 0.1, 0.1 and -0.2 around their mean, with a variance of 0.03."""
    assert [row["excess_se"] for row in found.rows] == pytest.approx([0.1] * 6)
    uniform, best = found.tables()
    assert uniform.heads == best.heads == ["depth", "1", "optimal_pixel", "optimal_estimate"]
    for table, bpds in ((uniform, list(BPD.values())[::2]), (best, list(BPD.values())[1::2])):
        assert table.rows == [[10, *(f"{bpd - 2:.4f} ± 0.1000 ({bpd - 2:.2f})" for bpd in bpds)]]
        assert table.caption.endswith("; infinite depth: 2.0000")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return write_run(folder / "run", write_images(folder / "images.npz"))


@pytest.fixture(scope="module")
def records(workdir):
    """Evaluations and the time of their files, by depth and choice of steps."""
    changes, options = {"eval.seed": 7, "fit.images": 8}, {"depths": (3, 50), "passes": 4}
    measured = studies.measure("depth-study", workdir, changes, **options)
    files = {path: path.stat().st_mtime_ns for path in (workdir / "depth-records").glob("*.json")}
    again = studies.measure("depth-study", workdir, changes, **options)
    assert again == measured
    assert {path: path.stat().st_mtime_ns for path in (workdir / "depth-records").glob("*.json")} == files
    return measured.result, [read_evaluation(path) for path in files]


def test_finished_records_are_used_again_and_hold_what_was_measured(records):
    result, evaluations = records
    assert {one.record["estimator"]["seed"] for one in evaluations} == {7}
    assert {one.record["estimator"]["fit"]["images"] for one in evaluations if "fit" in one.record["estimator"]} == {8}
    by_steps = {
        (one["depth"], one.get("times", "uniform"), one["variance_ratio"]): evaluation.bits
        for evaluation in evaluations
        for one in [evaluation.record["estimator"]]
    }
    assert set(by_steps) == {(None, "uniform", 1.0)} | {(d, *steps_of(name)) for d in (3, 50) for name in BPD}
    infinite = by_steps[None, "uniform", 1.0].mean(axis=0)
    for row in result.rows:
        excess = by_steps[row["depth"], *steps_of(row["choice"])].mean(axis=0) - infinite
        assert row["excess"] == pytest.approx(excess.mean())
        assert row["excess_se"] >= 0.999 * excess.std(ddof=1) / np.sqrt(13)


def test_sampling_uses_the_steps_of_the_study(workdir, records):
    changes = {"loss.depth": 3, "loss.variance_ratio": "optimal_pixel", "loss.times": "optimal", "fit.images": 8}
    run = open_trained(workdir, stored_config(workdir).replace(changes), needs_training_images=True)
    steps = steps_for(run, run.params, run.config.loss)
    (path,) = (
        one.path
        for one in records[1]
        if (one.record["estimator"]["depth"], one.record["estimator"].get("times")) == (3, "optimal")
        and one.record["estimator"]["variance_ratio"] == "optimal_pixel"
    )
    with np.load(path.with_suffix(".npz")) as values:
        np.testing.assert_allclose(steps.gamma, values["gamma"], rtol=1e-6)
        np.testing.assert_allclose(steps.ratio.ratio, values["ratio"], rtol=1e-4)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--depths=ten", "is not a whole number above zero"),
        ("--choices=best", "'best' is not one of 1, 1+times, optimal, optimal+times,"),
        ("--choices=1,", "'' is not one of 1, 1+times"),
        (
            "--choices=learned_error",
            "loss.variance_ratio=learned_error is that of model.error_head;",
        ),
    ],
)
def test_bad_input_is_refused(workdir, option, message, capsys):
    assert message in refusals.refused(main, ["depth-study", workdir, option], capsys)

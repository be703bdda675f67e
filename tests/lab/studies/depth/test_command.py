"""The command on a tiny run: its table follows from its records, and it resumes where it stopped."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError
from diffenc_jax.evaluation.fit import steps_for
from diffenc_jax.lab.studies.depth.table import CHOICES, INFINITE, PLAIN, depth_tables, read_table, studied, tabulate
from diffenc_jax.lab.studies.outputs import write_rows
from diffenc_jax.runs.records import Evaluation, read_evaluation
from diffenc_jax.runs.trained import open_trained
from diffenc_jax.runs.workdir import stored_config
from tests import refusals
from tests.lab.studies.runs import write_images, write_run

BPD = dict(zip(studied(False), (3.0, 2.5, 2.4, 2.25, 2.3, 2.125), strict=True))  # by choice
LAST = list(BPD)[-1]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return write_run(folder / "run", write_images(folder / "images.npz"))


@pytest.fixture(scope="module")
def records(workdir):
    """Records and their paths, by depth and choice of steps."""
    assert main(["depth-study", str(workdir), "--depths=50,3", "--passes=4"]) == 0
    found = {}
    for path in (workdir / "depth_study").glob("*.json"):
        record = json.loads(path.read_text())
        estimator = record["estimator"]
        found[estimator["depth"], estimator.get("times", "uniform"), estimator["variance_ratio"]] = record, path
    return found


def test_the_command(workdir, records, capsys):
    assert set(records) == {(None, "uniform", 1.0)} | {(d, *CHOICES[choice]) for d in (3, 50) for choice in BPD}
    folder = workdir / "depth_study"
    with (folder / "test-1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["depth"], row["choice"]) for row in rows] == [
        ("infinite", ""),
        *((str(depth), choice) for depth in (3, 50) for choice in BPD),
    ]
    infinite, path = records[None, "uniform", 1.0]
    infinite, by_image = infinite["bpd"]["total"], read_evaluation(path).bits.mean(axis=0)
    for depth in (3, 50):
        plain, last = (records[depth, *CHOICES[choice]][0]["bpd"]["total"] for choice in (PLAIN, LAST))
        kept = next(float(r["kept"]) for r in rows if (r["depth"], r["choice"]) == (str(depth), LAST))
        assert kept == pytest.approx((last - infinite) / (plain - infinite))
        for choice in BPD:
            row = next(row for row in rows if (row["depth"], row["choice"]) == (str(depth), choice))
            excess = read_evaluation(records[depth, *CHOICES[choice]][1]).bits.mean(axis=0) - by_image
            assert float(row["excess"]) == pytest.approx(excess.mean())
            assert float(row["excess_se"]) >= 0.999 * excess.std(ddof=1) / np.sqrt(13)
    with Image.open(folder / "test-1.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
    assert (folder / "test-1.pdf").read_bytes().startswith(b"%PDF")

    times = {path: path.stat().st_mtime_ns for _, path in records.values()}
    assert main(["depth-study", str(workdir), "--depths=50,3", "--passes=4"]) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert capsys.readouterr().out.splitlines()[-1] == f"excess kept at T=50: {kept:.2f}"


def test_keys_choose_the_images_the_seed_and_what_is_fitted(workdir, records):
    options = ["--depths=3", "--choices=optimal_pixel", "--passes=4"]
    keys = ["--config.eval.split=train", "--config.eval.seed=7", "--config.fit.images=8"]
    assert main(["depth-study", str(workdir), *options, *keys]) == 0
    found = [json.loads(path.read_text()) for path in (workdir / "depth_study").glob("train-1-*.json")]
    assert {(one["dataset"]["split"], one["estimator"]["seed"]) for one in found} == {("train", 7)}
    assert {one["estimator"]["fit"]["images"] for one in found if "fit" in one["estimator"]} == {8}


def test_the_ratio_of_a_missing_error_head_is_refused(workdir, capsys):
    printed = refusals.refused(main, ["depth-study", workdir, "--depths=3", "--choices=learned_error"], capsys)
    assert "loss.variance_ratio=learned_error is the ratio of the score network's error head; train with" in printed


def test_a_record_holds_its_steps(records):
    record, path = records[3, "optimal", "optimal_pixel"]
    estimator = record["estimator"]
    assert (estimator["kind"], estimator["passes"]) == ("discrete", 4)
    assert estimator["fit"]["split"] == "train"
    assert len(estimator["fit"]["sha256"]) == 64
    assert estimator["fit"]["sha256"] != record["dataset"]["sha256"]
    with np.load(path.with_suffix(".npz")) as values:
        assert values["ratio"].shape == (3, 4, 4, 1)
        assert np.all((values["ratio"] > 0) & (values["ratio"] <= 1))
        assert np.all(np.diff(values["gamma"]) > 0)
        bits = values["diffusion"].mean() / (16 * np.log(2))
    assert record["bpd"]["diffusion"] == pytest.approx(bits)


def test_sampling_uses_the_steps_of_the_study(workdir, records):
    changes = {"loss.depth": 3, "loss.variance_ratio": "optimal_pixel", "loss.times": "optimal"}
    run = open_trained(workdir, stored_config(workdir).replace(changes), needs_training_images=True)
    steps = steps_for(run, run.params, run.config.loss)
    with np.load(records[3, "optimal", "optimal_pixel"][1].with_suffix(".npz")) as values:
        np.testing.assert_allclose(steps.gamma, values["gamma"], rtol=1e-6)
        np.testing.assert_allclose(steps.ratio.ratio, values["ratio"], rtol=1e-4)


@pytest.fixture
def rows():
    """The table of made-up values at depth 10: two passes at infinite depth, and one at finite depth."""
    infinite = evaluation([[1.9, 1.9, 2.2], [1.9, 1.9, 2.2]], 2)
    found = {(10, choice): evaluation([[bpd, bpd, bpd]], None) for choice, bpd in BPD.items()}
    return tabulate({INFINITE: infinite} | found)


def evaluation(bits, replicates):
    return Evaluation(None, {"estimator": {"replicates": replicates}}, np.array(bits))


def test_kept_is_the_part_of_the_plain_excess(rows):
    by_choice = {row["choice"]: row for row in rows}
    assert by_choice["optimal_pixel+times"]["kept"] == pytest.approx(0.25)
    assert by_choice[PLAIN]["kept"] == pytest.approx(1.0)
    assert by_choice["optimal_pixel"]["excess"] == pytest.approx(0.4)


def test_errors_are_paired_by_image(rows):
    """The differences by image are 0.1, 0.1 and -0.2 around their mean, with a variance of 0.03."""
    assert rows[0]["excess_se"] is None
    assert [row["excess_se"] for row in rows[1:]] == pytest.approx([0.1] * 6)
    uniform, best = depth_tables(rows, "vdm on digits (test), step 1500")
    assert list(uniform.heads) == list(best.heads) == ["depth", "1", "optimal_pixel", "optimal_estimate"]
    for table, bpds in ((uniform, list(BPD.values())[::2]), (best, list(BPD.values())[1::2])):
        assert table.rows[0][1:] == [f"{bpd - 2:.4f} ± 0.1000 ({bpd - 2:.2f})" for bpd in bpds]


def test_a_single_image_has_no_error():
    one = evaluation([[2.0]], None)
    rows = tabulate({INFINITE: one} | {(10, choice): evaluation([[3.0]], None) for choice in BPD})
    assert {row["excess_se"] for row in rows} == {None}
    assert "1.0000 (1.00)" in depth_tables(rows, "vdm")[0].rows[0]


def test_a_table_is_read_as_it_was_written(rows, tmp_path):
    write_rows(tmp_path / "test-1.csv", rows)
    assert read_table(tmp_path / "test-1.csv") == rows


@pytest.mark.parametrize("kept", [slice(0, 0), slice(0, 1), slice(1, 7), slice(2, 7)])
def test_a_table_that_lacks_rows_is_refused(rows, kept, tmp_path):
    path = tmp_path / "test-1.csv"
    write_rows(path, rows)
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *lines[kept]]))
    with pytest.raises(InputError, match="run the study again"):
        read_table(path)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--depths=0", "is not a whole number above zero"),
        ("--depths=ten", "is not a whole number above zero"),
        ("--depths=", "is not a whole number above zero"),
        ("--passes=-1", "is not a whole number above zero"),
        ("--passes=1", "holds no run"),
        ("--choices=best", "'best' is not one of 1, 1+times, optimal, optimal+times,"),
        ("--choices=1,", "'' is not one of 1, 1+times"),
    ],
)
def test_bad_input_is_refused(tmp_path, option, message, capsys):
    assert message in refusals.refused(main, ["depth-study", tmp_path / "none", option], capsys)

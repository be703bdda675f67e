"""The command on a tiny run: its files are what is measured, and wrong input is named."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.lab.stats.calibration import posterior
from diffenc_jax.lab.studies.classify.measure import measure_bounds, open_run
from diffenc_jax.lab.studies.classify.table import summary, totals
from diffenc_jax.runs.workdir import stored_config
from tests.lab.studies.runs import CLASSES, write_images, write_run
from tests.refusals import refused


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs 'labels', and 'plain' without labels."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "labels", write_images(folder / "images.npz"), arm="diffenc", model__labels=True)
    write_run(folder / "plain", folder / "images.npz")
    return folder


def test_the_command(home, capsys):
    workdir = home / "labels"
    assert main(["classify", str(workdir), "--passes=4", "--config.eval.seed=3"]) == 0
    printed, path = capsys.readouterr().out, workdir / "classify" / "test-1.csv"
    config = stored_config(workdir).replace({"eval.passes": 4, "eval.seed": 3})
    run = open_run(workdir, config)
    nats, labels = measure_bounds(run, Bound(run)), np.arange(13) % CLASSES
    mean = nats.mean(axis=0)
    assert nats.shape == (2, 13, CLASSES)
    assert len(np.unique(mean)) == mean.size
    with np.load(path.with_suffix(".npz")) as values:
        np.testing.assert_array_equal(values["labels"], labels)
        np.testing.assert_allclose(values["nats"], mean, rtol=1e-5)
        np.testing.assert_allclose(values["probabilities"], posterior(mean), atol=1e-2)
        np.testing.assert_array_equal(values["predicted"], mean.argmin(axis=1))
    found = json.loads(path.with_suffix(".json").read_text())
    expected = totals(nats, labels)
    assert found["accuracy"]["mean"] == expected["accuracy"]["mean"]
    assert found["accuracy"]["interval"] == pytest.approx(expected["accuracy"]["interval"])
    assert found["noise"] == pytest.approx(expected["noise"], rel=1e-3)
    assert (found["dataset"]["labels_sha256"], found["estimator"]["passes"]) == (
        run.dataset.fingerprint("test")["labels_sha256"],
        4,
    )
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["images"]) for row in rows) == 13
    right = sum(float(row["accuracy"]) * int(row["images"]) for row in rows if row["accuracy"])
    assert right / 13 == pytest.approx(expected["accuracy"]["mean"])
    assert printed.splitlines()[-1] == summary(found)
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    with Image.open(path.with_suffix(".png")) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_wrong_input_is_refused(home, capsys):
    for arguments, message in (
        ([home / "plain"], "is a run without labels, which cannot classify; train one with --config.model.labels=True"),
        ([home / "none"], "holds no run"),
        ([home / "labels", "--config.eval.split=validation"], "has no split 'validation'"),
        ([home / "labels", "--config.sample.label=1"], "--config.sample.label is not read by this command"),
        ([home / "labels", "--passes=0"], "'0' is not a whole number above zero"),
    ):
        assert message in refused(main, ["classify", *map(str, arguments)], capsys)


def test_what_would_need_the_labels_is_refused(home, tmp_path, capsys):
    compress = ["compress", str(home / "labels"), "test", "-o", str(tmp_path / "a"), "--config.loss.depth=3"]
    assert "would have to send the labels as well; take a run without labels" in refused(main, compress, capsys)

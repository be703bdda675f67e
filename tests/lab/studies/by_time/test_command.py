"""The command on tiny runs: its table is what is measured, its line follows from the table."""

import csv
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.lab.studies.by_time.figure import shortest_names
from diffenc_jax.lab.studies.by_time.measure import LossByTime, measure_loss_by_time
from diffenc_jax.lab.studies.by_time.table import read_table, summarize
from diffenc_jax.runs.records import write_record
from diffenc_jax.runs.trained import open_trained
from tests import refusals
from tests.lab.studies.runs import write_images, write_run

OPTIONS = ["--cells=4", "--draws=2"]
RECORD = {
    "step": 1,
    "seed": 0,
    "arm": "vdm",
    "dataset": {"name": "a", "version": "1", "split": "test", "num_examples": 13, "dims": 16}
    | {"sha256": "0", "sha256_any_order": "0", "known_as": None},
    "estimator": {"kind": "continuous", "passes": 1, "replicates": None, "seed": 0},
    "params_sha256": "0" * 64,
    "software": {},
    "parts": {},
    "device": "cpu",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs of two seeds, 'vdm' and 'other-images', which has other test images."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "vdm", write_images(folder / "images.npz"))
    write_run(folder / "other-images", write_images(folder / "others.npz", seed=2), seed=1)
    return folder


def rgb(arm):
    return tuple(bytes.fromhex(arm_style(arm)["color"][1:]))


def colours(path):
    with Image.open(path) as picture:
        return set(map(tuple, np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()))


def test_the_command(home, capsys):
    workdir = home / "vdm"
    (workdir / "eval").mkdir()
    for passes, diffusion in ((8, 1.23456), (4, 9.0)):
        errors = dict.fromkeys(("noise", "images", "total"))
        record = RECORD | {"bpd": {"total": 2.0, "diffusion": diffusion}, "params": 1234, "seconds": 1.5}
        record |= {"config_hash": "0" * 12, "standard_error": {**errors, "terms": {"diffusion": errors}}}
        record["estimator"] = record["estimator"] | {"passes": passes}
        write_record(workdir / "eval" / f"test-1-continuous-{passes}.json", record, {})
    assert main(["loss-by-time", str(workdir), *OPTIONS]) == 0
    printed = capsys.readouterr().out
    table, figure = (workdir / "loss_by_time" / f"test-1.{kind}" for kind in ("csv", "png"))
    assert f"table: {table}\nfigure: {figure}, .pdf\n" in printed

    run = open_trained(workdir)
    values = measure_loss_by_time(run, cells=4, num_draws=2)
    with table.open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert read_table(table) == rows
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    np.testing.assert_allclose(column["gamma"], values.gamma)
    np.testing.assert_allclose(column["velocity"], values.velocity.mean(axis=(0, 1)) / 16, rtol=1e-4)
    np.testing.assert_allclose(
        column["velocity_se"], values.velocity.mean(axis=0).std(axis=0, ddof=1) / 16 / np.sqrt(13), rtol=1e-3
    )
    assert np.all(column["residual"] == 0)
    bits = values.diffusion.mean() / (16 * np.log(2))
    assert column["diffusion"] @ column["gamma_width"] == pytest.approx(bits, rel=1e-4)
    error = values.diffusion.mean(axis=(0, 2)).std(ddof=1) / np.sqrt(13) / (16 * np.log(2))
    assert f"area {bits:.4f} ± {error:.4f} bits/dim of diffusion loss (the run's record has 1.2346)" in printed
    assert {rgb("vdm"), (255, 255, 255)} < colours(figure)
    assert figure.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_several_runs_are_drawn_together(home, capsys):
    names = ("other-images", "vdm")
    assert main(["loss-by-time", *(str(home / name) for name in names), *OPTIONS, "--config.eval.split=train"]) == 0
    printed = capsys.readouterr().out
    tables = [read_table(home / name / "loss_by_time" / "train-1.csv") for name in names]
    assert all(a["velocity"] != b["velocity"] for a, b in zip(*tables, strict=True))
    assert len(re.findall("no record to compare with", printed)) == 2
    figure = home / "other-images" / "loss_by_time" / "train-1-compared.png"
    assert printed.splitlines()[-1] == f"figure: {figure}, .pdf"
    assert rgb("vdm") in colours(figure)


def test_a_summary_by_hand():
    """Two draws at two images in two cells of widths 1 and 3 in γ, with two dimensions."""
    nats = np.array([[[4.0, 8.0], [0.0, 4.0]], [[4.0, 16.0], [8.0, 4.0]]]) * np.log(2)
    values = LossByTime(*map(np.array, ([0.25, 0.75], [-0.5, 1.0], [-1.0, 0.0, 3.0])), nats, nats, 0 * nats)
    summary = summarize(values, dims=2)
    # Means of the draws by image are [4, 12] and [4, 4] bits; γ' is 2 and 6.
    first, second = summary.rows
    assert (first["diffusion"], first["diffusion_se"]) == pytest.approx((1.0, 0.0))
    assert (second["diffusion"], second["diffusion_se"]) == pytest.approx((8 / 12, 4 / 12))
    assert second["velocity"] == pytest.approx(4 * np.log(2))
    assert (summary.area, summary.error) == pytest.approx((3.0, 1.0))
    # 5 % of the area is 0.15, of the first cell's 1; 95 % leave out 0.15 of the second cell's 2.
    assert summary.middle == pytest.approx((-0.85, 3 - 3 * 0.15 / 2))


def test_names_are_the_shortest_that_distinguish_runs():
    def names(*runs):
        config = lambda arm, seed: SimpleNamespace(arm=arm, seed=seed)  # noqa: E731
        return shortest_names(
            [SimpleNamespace(config=config(a, s), step=step, workdir=f"{a}{s}{step}") for a, s, step in runs]
        )

    assert names(("vdm", 0, 5), ("diffenc", 0, 5)) == ["vdm", "diffenc"]
    assert names(("vdm", 0, 5), ("vdm", 1, 5)) == ["vdm, seed 0", "vdm, seed 1"]
    assert names(("vdm", 0, 5), ("vdm", 0, 6)) == ["vdm, step 5", "vdm, step 6"]
    assert names(("vdm", 0, 5), ("vdm", 0, 6), ("vdm", 1, 6)) == ["vdm05", "vdm06", "vdm16"]


@pytest.mark.parametrize("text", ["", "t,gamma\n", "t,gamma\n0.5,1\n", "\x00", b"\xff\xfe"])
def test_other_files_are_no_table(tmp_path, text):
    path = tmp_path / "test-1.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"test-1\.csv .*run the study again"):
        read_table(path)


def refused(arguments, capsys):
    return refusals.refused(main, ["loss-by-time", *arguments], capsys)


def test_runs_of_other_images_are_refused(home, capsys):
    error = refused([home / "vdm", home / "other-images"], capsys)
    assert re.search(r"vdm evaluates on \S*images.npz test \(\w{12}\), \S* evaluates on \S*others.npz test", error)


def test_runs_of_other_splits_are_refused(home, capsys):
    write_run(home / "other-split", home / "images.npz", eval__split="train")
    error = refused([home / "vdm", home / "other-split"], capsys)
    assert re.search(r" test \(\w{12}\), \S*other-split evaluates on \S* train \(", error)


def test_one_image_has_no_standard_error(home, capsys):
    workdir = write_run(home / "one", write_images(home / "one.npz", count=1))
    assert "is one image, and standard errors over images need at least two" in refused([workdir], capsys)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(home, tmp_path, capsys):
    shutil.copytree(home / "vdm", workdir := tmp_path / "vdm")
    shutil.rmtree(workdir / "loss_by_time", ignore_errors=True)
    (workdir / "loss_by_time").write_text("a file")
    assert "loss_by_time cannot be written to" in refused([workdir], capsys)


@pytest.mark.parametrize(
    ("run", "option", "message"),
    [
        ("vdm", "--config.eval.split=validation", "has no split 'validation'; it has "),
        ("none", "--cells=4", "holds no run"),
        ("vdm", "--cells=0", "is not a whole number above zero"),
        ("vdm", "--cells=ten", "is not a whole number above zero"),
        ("vdm", "--draws=-1", "is not a whole number above zero"),
    ],
)
def test_bad_input_is_refused(home, run, option, message, capsys):
    assert message in refused([home / run, option], capsys)

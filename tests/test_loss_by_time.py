"""The command on tiny runs: its table is what `by_time` says, its line what follows from the table."""

import csv
import json
import re
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from diffenc_jax import loss_by_time
from diffenc_jax import workdir as workdirs
from diffenc_jax.by_time import ByTime, by_time
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.checkpoint import Checkpoints
from diffenc_jax.trained import open_trained
from tests import refusals, tiny

ARGUMENTS = ["--cells=4", "--looks=2"]


def make_run(folder, source, arm="vdm", **changes):
    """What a run leaves, without the training."""
    config = tiny.config(arm, data__source=str(source), **changes)
    model = build(config, ImageSpec((4, 4, 1), tiny.LEVELS))
    rng = np.random.RandomState(config.seed)
    params = jax.tree.map(
        lambda p: p + 0.05 * rng.normal(size=p.shape).astype(np.float32), jax.jit(model.init)(jax.random.key(0))
    )
    workdirs.claim(folder, config)
    with Checkpoints(folder, keep_every_steps=1) as checkpoints:
        checkpoints.save_ema(1, params)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs of two seeds: 'vdm', and 'other-images', which has other ones to test on."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("images", 1), ("others", 2)):
        np.savez(folder / f"{name}.npz", train=tiny.images(20), test=tiny.images(13, seed=seed))
    make_run(folder / "vdm", folder / "images.npz")
    make_run(folder / "other-images", folder / "others.npz", seed=1)
    return folder


def rows_of(path):
    with path.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def colours(path):
    with Image.open(path) as picture:
        return set(picture.convert("RGB").get_flattened_data())


def test_the_command(home, capsys):
    workdir = home / "vdm"
    (workdir / "eval").mkdir()
    (workdir / "eval" / "test-1-continuous.json").write_text(json.dumps({"bpd": {"diffusion": 1.23456}}))
    assert loss_by_time.main([str(workdir), *ARGUMENTS]) == 0
    printed = capsys.readouterr().out
    table, figure = (workdir / "loss_by_time" / f"test-1.{kind}" for kind in ("csv", "png"))
    assert f"table: {table}\nfigure: {figure}\n" in printed

    run = open_trained(ConfigDict(workdirs.read(workdir)), workdir, fitting=False)
    values = by_time(run.model, run.params, run.dataset.splits["test"], run.mesh, cells=4, looks=2)
    rows = rows_of(table)
    column = lambda name: np.array([row[name] for row in rows])  # noqa: E731
    np.testing.assert_allclose(column("gamma"), values.gamma)
    np.testing.assert_allclose(column("velocity"), values.velocity.mean(axis=(0, 1)) / 16, rtol=1e-4)
    np.testing.assert_allclose(
        column("velocity_se"), values.velocity.mean(axis=0).std(axis=0, ddof=1) / 16 / np.sqrt(13), rtol=1e-3
    )
    assert np.all(column("residual") == 0)
    bits = values.diffusion.mean() / (16 * np.log(2))
    assert column("diffusion") @ column("gamma_width") == pytest.approx(bits, rel=1e-4)
    error = values.diffusion.mean(axis=(0, 2)).std(ddof=1) / np.sqrt(13) / (16 * np.log(2))
    assert f"area {bits:.4f} ± {error:.4f} bits/dim of diffusion loss (the run's record says 1.2346)" in printed
    assert {(0, 114, 178), (255, 255, 255)} < colours(figure)


def test_several_runs_are_drawn_together(home, capsys):
    names = ("other-images", "vdm")
    assert loss_by_time.main([*(str(home / name) for name in names), *ARGUMENTS, "--split=train"]) == 0
    printed = capsys.readouterr().out
    tables = [rows_of(home / name / "loss_by_time" / "train-1.csv") for name in names]
    assert all(a["velocity"] != b["velocity"] for a, b in zip(*tables, strict=True))
    assert len(re.findall("no record to compare with", printed)) == 2
    figure = home / "other-images" / "loss_by_time" / "train-1-compared.png"
    assert printed.splitlines()[-1] == f"figure: {figure}"
    assert {(0, 114, 178), (213, 94, 0)} < colours(figure)


def test_a_summary_by_hand():
    """2 looks at 2 images in 2 cells of widths 1 and 3 in γ, 2 dimensions."""
    nats = np.array([[[4.0, 8.0], [0.0, 4.0]], [[4.0, 16.0], [8.0, 4.0]]]) * np.log(2)
    values = ByTime(*map(np.array, ([0.25, 0.75], [-0.5, 1.0], [-1.0, 0.0, 3.0])), nats, nats, 0 * nats)
    curve = loss_by_time.summarize(values, dims=2)
    # By image, the means of the looks are [4, 12] and [4, 4] bits; γ' is 2 and 6.
    first, second = curve.rows
    assert (first["diffusion"], first["diffusion_se"]) == pytest.approx((1.0, 0.0))
    assert (second["diffusion"], second["diffusion_se"]) == pytest.approx((8 / 12, 4 / 12))
    assert second["velocity"] == pytest.approx(4 * np.log(2))
    assert (curve.area, curve.error) == pytest.approx((3.0, 1.0))
    # 5 % of the area is 0.15, of a first cell of 1; 95 % leave 0.15 of the second's 2 out.
    assert curve.middle == pytest.approx((-0.85, 3 - 3 * 0.15 / 2))


def test_names_are_the_least_that_tells_runs_apart():
    run = lambda arm, seed, step: SimpleNamespace(  # noqa: E731
        config=SimpleNamespace(arm=arm, seed=seed), step=step, workdir=f"{arm}{seed}{step}"
    )
    names = lambda *runs: loss_by_time.names([run(*r) for r in runs])  # noqa: E731
    assert names(("vdm", 0, 5), ("diffenc", 0, 5)) == ["vdm", "diffenc"]
    assert names(("vdm", 0, 5), ("vdm", 1, 5)) == ["vdm, seed 0", "vdm, seed 1"]
    assert names(("vdm", 0, 5), ("vdm", 0, 6)) == ["vdm, step 5", "vdm, step 6"]
    assert names(("vdm", 0, 5), ("vdm", 0, 6), ("vdm", 1, 6)) == ["vdm05", "vdm06", "vdm16"]


def refused(arguments, capsys):
    return refusals.refused(loss_by_time.main, arguments, capsys)


def test_runs_of_other_images_are_refused(home, capsys):
    error = refused([home / "vdm", home / "other-images"], capsys)
    assert re.search(r"vdm is looked at on \S*images.npz test \(\w{12}\), \S* on \S*others.npz test \(\w{12}\)", error)


def test_an_unknown_split_is_refused(home, capsys):
    assert "has no split 'validation'; it has " in refused([home / "vdm", "--split=validation"], capsys)


def test_runs_of_other_splits_are_refused(home, capsys):
    make_run(home / "other-split", home / "images.npz", eval__split="train")
    error = refused([home / "vdm", home / "other-split"], capsys)
    assert re.search(r" test \(\w{12}\), \S*other-split on \S* train \(", error)


def test_no_run_is_said_in_one_line(home, capsys):
    assert "holds no run" in refused([home / "vdm", home / "none"], capsys)


def test_one_image_has_no_standard_error(home, capsys):
    np.savez(home / "one.npz", train=tiny.images(20), test=tiny.images(1))
    workdir = make_run(home / "one", home / "one.npz")
    assert "is one image, and standard errors over images need at least two" in refused([workdir], capsys)


def test_a_folder_that_cannot_be_made_is_said_in_one_line_before_anything_is_looked_at(home, tmp_path, capsys):
    shutil.copytree(home / "vdm", workdir := tmp_path / "vdm")
    shutil.rmtree(workdir / "loss_by_time", ignore_errors=True)
    (workdir / "loss_by_time").write_text("a file")
    assert "loss_by_time cannot be written to" in refused([workdir], capsys)


@pytest.mark.parametrize("argument", ["--cells=0", "--cells=ten", "--looks=0", "--looks=-1"])
def test_impossible_arguments_are_refused(home, argument, capsys):
    with pytest.raises(SystemExit) as stopped:
        loss_by_time.main([str(home / "vdm"), argument])
    assert stopped.value.code == 2
    assert "is no positive number" in capsys.readouterr().err

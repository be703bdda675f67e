"""The command on a tiny run: its table, figures and bounds are what its parts say, and what cannot be is refused."""

import csv
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from diffenc_jax import workdir as workdirs
from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.encoder_study import __main__ as command
from diffenc_jax.encoder_study import off
from diffenc_jax.train.sharding import make_mesh
from tests import refusals, tiny
from tests.encoder_study.models import Formula
from tests.test_loss_by_time import make_run

ARGUMENTS = ["--gammas=3", "--images=4", "--passes=2"]
FIGURES = ("x_t", "difference", "derivative", "mean", "curves")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    np.savez(folder / "images.npz", train=tiny.images(20), test=tiny.images(13, seed=1))
    for arm in ("nontrainable", "vdm"):
        make_run(folder / arm, folder / "images.npz", arm)
    return folder


def copy(home, name):
    """The run without what was found out about it."""
    return shutil.copytree(home / "nontrainable", home / name, ignore=shutil.ignore_patterns("encoder_study"))


def test_the_command(home, capsys, monkeypatch):
    monkeypatch.setattr(command, "FIGURE_DPI", 50)
    monkeypatch.setattr(off, "OFF", {name: off.OFF[name] for name in ("nontrainable", "vdm")})
    workdir = home / "nontrainable"
    assert command.main([str(workdir), *ARGUMENTS]) == 0
    printed = capsys.readouterr().out
    folder = workdir / "encoder_study"

    with (folder / "test-1.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    x = (2.0 * tiny.images(13, seed=1) + 1.0) / tiny.LEVELS - 1.0
    gamma = np.array([row["gamma"] for row in rows])
    assert (gamma[0], gamma[-1], len(gamma)) == (pytest.approx(-13.3 + 2 * np.log(256 / 17)), 5.0, 3)
    sigma2 = 1 / (1 + np.exp(-gamma))
    np.testing.assert_allclose([row["difference"] for row in rows], sigma2 * np.sqrt(np.mean(x**2)), rtol=1e-3)
    assert all(row["residual"] > 0 and row["residual_se"] > 0 for row in rows)
    assert f"x_t is farthest from x at γ = 5.00 (root mean square {rows[-1]['difference']:.4f} a dimension)" in printed

    for name in FIGURES:
        with Image.open(folder / f"test-1-{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
        assert (folder / f"test-1-{name}.pdf").read_bytes().startswith(b"%PDF")

    about = json.loads((folder / "test-1-off.json").read_text())
    assert (about["step"], about["arm"], about["dataset"]["num_examples"]) == (1, "nontrainable", 13)
    assert list(about["encoders"]) == ["trained", "vdm"]
    difference = about["encoders"]["vdm"]["difference"]["total"]
    shown = f"{difference['mean']:+.4f} ± {difference['standard_error']['total']:.4f}"
    assert re.search(rf"vdm .*{re.escape(shown)}", printed)
    assert re.search(rf"trained .*{about['encoders']['trained']['bpd']['diffusion']:.4f}", printed)


def test_of_points_more_are_drawn_and_no_mean_of_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "FIGURE_DPI", 50)
    run = SimpleNamespace(
        model=Formula(NonTrainable(), (1, 1, 2)),
        params={},
        mesh=make_mesh(),
        workdir=tmp_path,
        step=1,
        config=SimpleNamespace(arm="nontrainable", eval=SimpleNamespace(split="test", batch_size=100)),
        dataset=SimpleNamespace(name="points", splits={"test": tiny.images(250, (1, 1, 2))}),
    )
    seen = command.look(run, gammas=3, images=8, on_batch=lambda share: None)
    assert len(seen.x) == command.POINTS == 200
    command.write_seen(run, seen)
    drawn = {path.name for path in (tmp_path / "encoder_study").glob("*.png")}
    assert drawn == {f"test-1-{name}.png" for name in FIGURES if name != "mean"}


def refused(arguments, capsys):
    return refusals.refused(command.main, arguments, capsys)


def test_an_encoder_that_changes_nothing_is_refused(home, capsys):
    error = refused([home / "vdm"], capsys)
    assert "vdm is a run of vdm, whose encoder changes nothing: x_t = x" in error
    assert not (home / "vdm" / "encoder_study").exists()


def test_an_unknown_split_is_refused(home, capsys):
    assert "has no split 'validation'; it has " in refused([home / "nontrainable", "--split=validation"], capsys)


def test_no_run_is_said_in_one_line(home, capsys):
    assert "holds no run" in refused([home / "none"], capsys)


def test_one_image_has_no_standard_error(home, capsys):
    np.savez(home / "one.npz", train=tiny.images(20), test=tiny.images(1))
    workdir = copy(home, "one")
    config = workdirs.configuration(workdir)
    config.data.source = str(home / "one.npz")
    workdirs.claim(workdir, config)
    assert "is one image, and standard errors over images need at least two" in refused([workdir], capsys)


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_computed(home, capsys, monkeypatch):
    workdir = copy(home, "full")
    (workdir / "encoder_study").write_text("a file")
    monkeypatch.setattr(command, "look", None)
    assert "encoder_study cannot be written to: " in refused([workdir], capsys)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--gammas=1", "leaves the ends of the path out; take at least 2"),
        ("--gammas=ten", "is no positive number"),
        ("--images=0", "is no positive number"),
        ("--passes=-1", "is no positive number"),
    ],
)
def test_impossible_arguments_are_refused(home, argument, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main([str(home / "nontrainable"), argument])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err

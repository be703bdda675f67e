"""The command on a tiny run: its table, figures and bounds are those of its parts; bad input is refused."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.studies.encoder import figure, replaced
from diffenc_jax.lab.studies.encoder.balance import read_balance
from diffenc_jax.lab.studies.encoder.replaced import REPLACEMENTS
from diffenc_jax.lab.studies.encoder.table import read_bounds
from tests import refusals, tiny
from tests.lab.studies.runs import write_images, write_run

ARGUMENTS = ["--gammas=3", "--images=4", "--passes=2"]
FIGURES = ("x_t", "difference", "derivative", "mean", "curves", "price")
NUMBER = r"-?\d\.\d{5}"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    images = write_images(folder / "images.npz")
    for arm in ("nontrainable", "vdm"):
        write_run(folder / arm, images, arm)
    return folder


def copy(home, name):
    """A copy of the run without a study."""
    return shutil.copytree(home / "nontrainable", home / name, ignore=shutil.ignore_patterns("encoder_study"))


def test_the_command(home, capsys, monkeypatch):
    monkeypatch.setattr(replaced, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})
    workdir = home / "nontrainable"
    assert main(["encoder-study", str(workdir), *ARGUMENTS]) == 0
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
    farthest = f"root mean square {rows[-1]['difference']:.4f} per dimension"
    assert f"x_t is farthest from x at γ = 5.00 ({farthest})" in printed

    for name in FIGURES:
        with Image.open(folder / f"test-1-{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
        assert (folder / f"test-1-{name}.pdf").read_bytes().startswith(b"%PDF")

    about = json.loads((folder / "test-1-off.json").read_text())
    assert (about["step"], about["arm"], about["dataset"]["num_examples"]) == (1, "nontrainable", 13)
    assert list(about["encoders"]) == ["trained", "identity"]
    assert read_bounds(folder / "test-1-off.json") == about["encoders"]
    difference = about["encoders"]["identity"]["difference"]["total"]
    shown = f"{difference['mean']:+.4f} ± {difference['standard_error']['total']:.4f}"
    assert re.search(rf"identity .*{re.escape(shown)}", printed)
    assert re.search(rf"trained .*{about['encoders']['trained']['bpd']['diffusion']:.4f}", printed)

    found = read_balance(folder / "test-1-price.json")
    assert (found["arm"], found["dataset"]["num_examples"]) == ("nontrainable", 13)
    with (folder / "test-1-price.csv").open() as file:
        rates = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert [row["gamma"] for row in rates] == [row["gamma"] for row in rows]
    for name in ("score", "linear", "constant"):
        area = np.trapezoid([row[name] for row in rates], gamma)
        assert found["price"][name]["mean"] == pytest.approx(area)
    assert found["ends"]["trained"]["latent"]["mean"] == pytest.approx(about["encoders"]["trained"]["bpd"]["latent"])
    price, linear = (rf"{NUMBER} ± {NUMBER} bits/dim \((?:score network|linear predictor)\)", NUMBER)
    last = rf"price of the drift: at most {price}; Gaussian fit: {linear}; end terms win back {NUMBER} ± {NUMBER}"
    assert re.fullmatch(last, printed.splitlines()[-1])


@pytest.mark.slow
def test_a_head_is_trained_for_a_run_without_one(home, monkeypatch, capsys):
    """A repeated command finds the head again, and measures the same."""
    monkeypatch.setattr(replaced, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})
    monkeypatch.setattr(figure, "draw_figures", lambda *_: {})
    workdir = write_run(home / "diffenc", home / "images.npz", "diffenc")
    command = ["encoder-study", str(workdir), "--gammas=2", "--passes=1", "--head-steps=2"]
    found = []
    for is_first in (True, False):
        assert main(command) == 0
        assert ("derivative head" in capsys.readouterr().out.splitlines()) == is_first
        found.append(read_balance(workdir / "encoder_study" / "test-1-price.json"))
    assert list(found[0]["price"]) == ["head", "linear", "constant"]
    assert found[0] == found[1]


def test_many_points_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(replaced, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})
    drawn = []
    monkeypatch.setattr(figure, "draw_figures", lambda effects, *_: drawn.append(len(effects.x)) or {})
    images = write_images(tmp_path / "points.npz", count=250, shape=(1, 1, 2))
    workdir = write_run(tmp_path / "run", images, "nontrainable", shape=(1, 1, 2), eval__batch_size=250)
    assert main(["encoder-study", str(workdir), "--gammas=2", "--images=4", "--passes=1"]) == 0
    assert drawn == [200]


def refused(arguments, capsys):
    return refusals.refused(main, ["encoder-study", *arguments], capsys)


def test_an_encoder_that_changes_nothing_is_refused(home, capsys):
    error = refused([home / "vdm"], capsys)
    assert "vdm is a run of vdm, whose encoder changes nothing (x_t = x)" in error
    assert not (home / "vdm" / "encoder_study").exists()


def test_one_image_has_no_standard_error(home, capsys):
    workdir = write_run(home / "one", write_images(home / "one.npz", count=1), "nontrainable")
    assert "is one image, and standard errors over images need at least two" in refused([workdir], capsys)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(home, capsys):
    workdir = copy(home, "full")
    (workdir / "encoder_study").write_text("a file")
    assert "encoder_study cannot be written to: " in refused([workdir], capsys)


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"encoders": {"trained": {"bpd": 1}}}'])
def test_other_files_are_no_bounds(tmp_path, text):
    (tmp_path / "test-1-off.json").write_text(text)
    with pytest.raises(InputError, match="run the study again"):
        read_bounds(tmp_path / "test-1-off.json")


@pytest.mark.parametrize("text", ["{}", "[]", '{"price": {"head": {"mean": "x"}}, "ends": {}, "won": {}}'])
def test_other_files_are_no_prices(tmp_path, text):
    (tmp_path / "test-1-price.json").write_text(text)
    with pytest.raises(InputError, match="run the study again"):
        read_balance(tmp_path / "test-1-price.json")


@pytest.mark.parametrize(
    ("run", "argument", "message"),
    [
        ("nontrainable", "--config.eval.split=validation", "has no split 'validation'; it has "),
        ("none", "--gammas=3", "holds no run"),
        ("nontrainable", "--gammas=1", "leaves out an end of the path; take at least 2"),
        ("nontrainable", "--gammas=ten", "is not a whole number above zero"),
        ("nontrainable", "--images=0", "is not a whole number above zero"),
        ("nontrainable", "--head-steps=-1", "is not a whole number above zero"),
        ("nontrainable", "--passes=-1", "is not a whole number above zero"),
    ],
)
def test_bad_input_is_refused(home, run, argument, message, capsys):
    assert message in refused([home / run, argument], capsys)

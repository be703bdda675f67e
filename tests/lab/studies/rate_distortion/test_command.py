"""The command on tiny runs: its table is what is measured, and its options are those of an evaluation."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.lab.studies.rate_distortion.measure import measure_rate_distortion
from diffenc_jax.lab.studies.rate_distortion.table import even_rates, rates_table, tabulate
from diffenc_jax.runs.trained import open_trained
from diffenc_jax.runs.workdir import stored_config
from tests import refusals
from tests.lab.studies.runs import write_images, write_run

FITTED = {"loss.times": "optimal", "loss.variance_ratio": "optimal_pixel"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs 'vdm', and 'diffenc' of a finite depth."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "vdm", write_images(folder / "images.npz"))
    write_run(folder / "diffenc", folder / "images.npz", arm="diffenc", loss__depth=2, eval__passes=1)
    return folder


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def measured(workdir, **changes):
    """Rate and distortion of a run over three steps, in two passes."""
    config = stored_config(workdir).replace({"loss.depth": 3, "eval.passes": 2, **changes})
    return measure_rate_distortion(open_trained(workdir, config, needs_training_images=True), keep=12)


def test_the_command(home, capsys):
    workdir = home / "vdm"
    assert main(["rate-distortion", str(workdir), "--depth=3", "--passes=2"]) == 0
    printed, path, values = capsys.readouterr().out, workdir / "rate_distortion" / "test-1.csv", measured(workdir)
    rows = read(path)
    assert [row["steps"] for row in rows] == ["0", "1", "2", "3", "3"]
    np.testing.assert_allclose([float(row["gamma"]) for row in rows[:-1]], values.gamma, rtol=1e-5)
    rate, square = values.rate.mean(axis=0), values.square.mean(axis=0)
    np.testing.assert_allclose([float(row["rate"]) for row in rows], rate.mean(axis=0), rtol=1e-4)
    errors = rate.std(axis=0, ddof=1) / np.sqrt(13)
    np.testing.assert_allclose([float(row["rate_se"]) for row in rows], errors, rtol=1e-3)
    np.testing.assert_allclose([float(row["rmse"]) ** 2 for row in rows[:-1]], square.mean(axis=0), rtol=1e-4)
    assert f"table: {path}\nfigure: {path.with_suffix('.png')}, .pdf\nimages: {workdir}" in printed
    last = f"bound of 3 steps: {rate[:, -1].mean():.4f} ± {errors[-1]:.4f} bits/dim"
    assert printed.splitlines()[-1] == last
    for name in ("test-1", "test-1-images"):
        with Image.open(path.with_name(f"{name}.png")) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_fitted_steps_are_those_of_an_evaluation(home):
    options = [f"--config.{key}={value}" for key, value in FITTED.items()]
    assert main(["rate-distortion", str(home / "vdm"), "--depth=3", "--passes=2", *options]) == 0
    rows, values = read(home / "vdm" / "rate_distortion" / "test-1.csv"), measured(home / "vdm", **FITTED)
    np.testing.assert_allclose([float(row["gamma"]) for row in rows[:-1]], values.gamma, rtol=1e-5)
    assert np.ptp(np.diff(values.gamma)) > 0.1
    np.testing.assert_allclose([float(row["rate"]) for row in rows], values.rate.mean(axis=(0, 1)), rtol=1e-4)


def test_a_run_of_a_finite_depth_has_its_steps_and_says_what_it_shows(home, capsys):
    assert main(["rate-distortion", str(home / "diffenc")]) == 0
    rows = read(home / "diffenc" / "rate_distortion" / "test-1.csv")
    assert len(rows) == 4
    assert {"rmse_x_t", "psnr_x_t"} < set(rows[0])
    assert not {"rmse", "psnr"} & set(rows[0])
    assert "RMSE of x̂, for x_t" in capsys.readouterr().out


def made_up(**changes):
    """Two images in two passes over one step."""
    values = {
        "gamma": np.array([5.0, -8.0]),
        "rate": np.array([[[0.1, 1.0, 1.5], [0.3, 2.0, 2.5]], [[0.1, 2.0, 2.5], [0.3, 3.0, 3.5]]]),
        "square": np.array([[[100.0, 0.0], [300.0, 0.0]], [[100.0, 0.0], [300.0, 0.0]]]),
        "estimates_x": True,
    }
    return SimpleNamespace(**values | changes)


def test_a_table_by_hand():
    first, second, last = tabulate(made_up())
    assert (first["rate"], first["rate_se"]) == pytest.approx((0.2, 0.1))
    assert (second["rate"], second["rate_se"]) == pytest.approx((2.0, 0.5))
    # The mean square is 200 ± 100; the error of its root is 100 / (2 √200), and that of 10 log10 of it 10 / ln 10 / 2.
    assert (first["rmse"], first["rmse_se"]) == pytest.approx((200**0.5, 50 / 200**0.5))
    assert (first["psnr"], first["psnr_se"]) == pytest.approx((10 * np.log10(255**2 / 200), 5 / np.log(10)))
    assert (second["rmse"], second["rmse_se"], second["psnr"], second["psnr_se"]) == (0.0, 0.0, None, None)
    assert (last["gamma"], last["rate"], last["rmse"], last["psnr"]) == (None, 2.5, 0.0, None)
    lines = rates_table(tabulate(made_up()), "vdm").rows
    assert [line[1] for line in lines] == ["5.00", "-8.00", "pixels"]
    assert lines[0][2:] == ["0.2000 ± 0.1000", "14.14 ± 3.54", "25.12 ± 2.17"]


def test_rates_shown_are_evenly_spaced():
    rates = [0.0, 0.1, 0.4, 1.1, 1.9, 2.2, 3.1, 3.9, 5.1, 5.9, 6.0]
    assert even_rates([{"rate": rate} for rate in rates]) == [3, 4, 6, 7, 8]


def refused(arguments, capsys):
    return refusals.refused(main, ["rate-distortion", *arguments], capsys)


def test_one_image_has_no_standard_error(home, capsys):
    workdir = write_run(home / "one", write_images(home / "one.npz", count=1))
    assert "is one image, and standard errors over images need at least two" in refused([workdir], capsys)


@pytest.mark.parametrize(
    ("run", "option", "message"),
    [
        ("none", "--depth=3", "holds no run"),
        ("vdm", "--depth=0", "is not a whole number above zero"),
        ("vdm", "--passes=many", "is not a whole number above zero"),
        ("vdm", "--depth=100000000", "are too short for float32; take at most"),
        ("vdm", "--config.loss.variance_ratio=learned_error", "train with --config.model.error_head=True"),
        ("vdm", "--config.loss.times=best", "loss.times must be"),
        ("vdm", "--config.eval.split=validation", "has no split 'validation'; it has "),
        ("vdm", "--config.eval.pases=3", "unknown configuration key 'eval.pases'"),
        (
            "vdm",
            "--config.model.prediction=eps",
            "--config.model.prediction is not read by this command; it",
        ),
        ("vdm", "--config.eval.estimator=ode", "--config.eval.estimator is not read by this command"),
        ("vdm", "--config.loss.depth", "--config.loss.depth has no value"),
    ],
)
def test_bad_input_is_refused(home, run, option, message, capsys):
    assert message in refused([home / run, option], capsys)

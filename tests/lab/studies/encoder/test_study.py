"""The study on a tiny run: its parts belong together; runs that it is not for are refused."""

import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.encoder import bounds
from diffenc_jax.lab.studies.encoder.bounds import REPLACEMENTS
from tests import tiny
from tests.lab.studies.runs import write_images, write_run
from tests.refusals import refused


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    images = write_images(folder / "images.npz")
    for arm in ("nontrainable", "vdm"):
        write_run(folder / arm, images, arm)
    return folder


@pytest.fixture(autouse=True)
def one_replacement(monkeypatch):
    monkeypatch.setattr(bounds, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})


def test_the_parts_of_the_study_belong_together(home):
    measured = studies.measure("encoder-study", home / "nontrainable", gammas=3, images=4, passes=2)
    found = measured.result
    x = (2.0 * tiny.images(13, seed=1) + 1.0) / tiny.LEVELS - 1.0
    gamma = np.array([row["gamma"] for row in found.rows])
    assert (gamma[0], gamma[-1], len(gamma)) == (pytest.approx(-13.3 + 2 * np.log(256 / 17)), 5.0, 3)
    sigma2 = 1 / (1 + np.exp(-gamma))
    np.testing.assert_allclose([row["difference"] for row in found.rows], sigma2 * np.sqrt(np.mean(x**2)), rtol=1e-3)
    np.testing.assert_allclose(found.pictures[:, 0], x[:4], atol=1e-6)
    x_t = (1 - sigma2[found.shown]).reshape(-1, 1, 1, 1) * x[:4, None]
    np.testing.assert_allclose(found.pictures[:, 1:], x_t, rtol=1e-3, atol=1e-6)
    assert found.predictor == "score network"
    assert found.price[0] == pytest.approx(np.trapezoid([row["price"] for row in found.rows], gamma))
    assert found.ends["trained"]["latent"][0] == pytest.approx(found.bounds["trained"]["bpd"]["latent"])
    by_encoder, ends = found.tables()
    mean, error = found.bounds["identity"]["difference"]["total"]
    assert [row[0] for row in by_encoder.rows] == [row[0] for row in ends.rows] == ["trained", "identity"]
    assert f"{mean:+.4f} ± {error:.4f}" in by_encoder.rows[1]
    assert found.sentence().startswith(f"price of the drift: at most {found.price[0]:.5f} ± ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vdm"], "vdm is a run of vdm, whose encoder changes nothing (x_t = x)"),
        (["nontrainable", "--gammas=1"], "--gammas must be at least 2, not 1"),
        (["nontrainable", "--head-steps=-1"], "--head-steps must be at least 0, not -1"),
    ],
)
def test_bad_input_is_refused(home, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(home)
    assert message in refused(main, ["encoder-study", *arguments], capsys)

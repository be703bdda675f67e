"""The study on a tiny run: its parts belong together, a head is found again; runs that it is not for are refused."""

import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.encoder import replaced
from diffenc_jax.lab.studies.encoder.replaced import REPLACEMENTS
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
    monkeypatch.setattr(replaced, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})


def test_the_parts_of_the_study_belong_together(home):
    measured = studies.measure("encoder-study", home / "nontrainable", gammas=3, images=4, passes=2)
    found = measured.result
    x = (2.0 * tiny.images(13, seed=1) + 1.0) / tiny.LEVELS - 1.0
    gamma = np.array([row["gamma"] for row in found.rows])
    assert (gamma[0], gamma[-1], len(gamma)) == (pytest.approx(-13.3 + 2 * np.log(256 / 17)), 5.0, 3)
    sigma2 = 1 / (1 + np.exp(-gamma))
    np.testing.assert_allclose([row["difference"] for row in found.rows], sigma2 * np.sqrt(np.mean(x**2)), rtol=1e-3)
    np.testing.assert_allclose(found.x_t, (1 - sigma2[found.shown]).reshape(-1, 1, 1, 1) * found.x[:, None], rtol=1e-3)
    assert found.predictor == "score network"
    assert found.price[0] == pytest.approx(np.trapezoid([row["price"] for row in found.rows], gamma))
    assert found.ends["trained"]["latent"][0] == pytest.approx(found.bounds["trained"]["bpd"]["latent"])
    bounds, ends = found.tables()
    mean, error = found.bounds["identity"]["difference"]["total"]
    assert [row[0] for row in bounds.rows] == [row[0] for row in ends.rows] == ["trained", "identity"]
    assert bounds.rows[1][-2] == f"{mean:+.4f} ± {error:.4f}"
    farthest = f"x_t is farthest from x at γ = 5.00 (root mean square {found.rows[-1]['difference']:.4f} per dimension)"
    assert farthest in found.sentence()
    assert found.sentence().startswith(f"price of the drift: at most {found.price[0]:.5f} ± ")


@pytest.mark.slow
def test_a_head_is_trained_for_a_run_without_one(home):
    """It is found again, and measures the same; without a head there is no price."""
    workdir = write_run(home / "diffenc", home / "images.npz", "diffenc")
    options = {"gammas": 2, "passes": 1}
    first, again = (studies.measure("encoder-study", workdir, head_steps=2, **options).result for _ in range(2))
    assert (first.predictor, first.price) == (again.predictor, again.price) == ("derivative head", again.price)
    without = studies.measure("encoder-study", workdir, head_steps=0, **options).result
    assert (without.predictor, without.price) == ("", None)
    assert without.sentence().startswith("end terms win back ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vdm"], "vdm is a run of vdm, whose encoder changes nothing (x_t = x)"),
        (["nontrainable", "--gammas=1"], "1 leaves out an end of the path; take at least 2"),
        (["nontrainable", "--head-steps=-1"], "is not a whole number above zero"),
    ],
)
def test_bad_input_is_refused(home, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(home)
    assert message in refused(main, ["encoder-study", *arguments], capsys)

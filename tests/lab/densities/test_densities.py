"""Densities of worlds, and the command that compares models of them."""

import json

import numpy as np
import pytest
from scipy import stats

from diffenc_jax.__main__ import main
from diffenc_jax.core import terminal
from diffenc_jax.lab.densities import models, worlds


@pytest.mark.parametrize("law", [worlds.gaussian(2), worlds.banana(), worlds.mixture(np.array([[2.0, 0], [0, 2]]))])
def test_a_density_of_two_dimensions_integrates_to_one_and_is_that_of_its_draws(law):
    draw, log_p = law
    grid, step = np.linspace(-8, 16, 1201, retstep=True)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    p = np.exp(log_p(points))
    assert p.sum() * step**2 == pytest.approx(1, abs=1e-3)
    drawn = log_p(*draw(np.random.default_rng(0)))
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum() * step**2
    assert -drawn.mean() == pytest.approx(entropy, abs=4 * drawn.std() / np.sqrt(len(drawn)))


def test_a_field_is_gaussian_with_the_covariance_of_its_modes():
    draw, log_p = worlds.field(6)
    variances = (1 + np.fft.fftfreq(6, 1 / 6) ** 2 / 16) ** -1.5
    modes = np.fft.fft(np.eye(6)) / np.sqrt(6)
    covariance = (modes.conj().T * variances @ modes).real
    x = draw(np.random.default_rng(0))[0][:5]
    np.testing.assert_allclose(log_p(x), stats.multivariate_normal(cov=covariance).logpdf(x[..., 0]))


def test_a_posterior_is_that_of_bayes():
    draw, log_p = worlds.posterior(2)
    theta, y = (array[:3] for array in draw(np.random.default_rng(1)))
    a = np.random.default_rng(0).normal(size=(2, 2)) / np.sqrt(2)
    joint = stats.norm.logpdf(theta).sum(axis=1) + stats.norm.logpdf(y, theta @ a.T, 0.3).sum(axis=1)
    evidence = stats.multivariate_normal(cov=a @ a.T + 0.09 * np.eye(2)).logpdf(y)
    np.testing.assert_allclose(log_p(theta, y), joint - evidence)


def test_excesses_are_those_of_the_models_and_are_kept(tmp_path, monkeypatch, capsys):
    """A model that has the truth, and one that is a nat below it, with two seeds."""
    calls = []

    def fitted(less, data, seed, folder):
        calls.append(seed)
        return models.Fitted(2.0, {"": lambda x: worlds.banana()[1](x) - less})

    known = {name: lambda *given, less=less: fitted(less, *given) for name, less in {"truth": 0, "worse": 1}.items()}
    monkeypatch.setattr(models, "MODELS", known)
    monkeypatch.setenv(terminal.TABLES, str(tmp_path / "tables.jsonl"))
    command = ["densities", f"--out={tmp_path}", "--only=banana-2", "--seeds=0,1"]
    assert [main([*command, "--models=truth"]), main(command), calls] == [0, 0, [0, 1, 0, 1]]
    assert "| banana-2 | 0.0000 ± 0.0000 | 0.5000 ± 0.0000 |" in capsys.readouterr().out
    table = json.loads((tmp_path / "tables.jsonl").read_text().splitlines()[2])
    assert table["rows"][0][2] == ["{:.4f} ± {:.4f}", pytest.approx(0.5), pytest.approx(0)]
    assert main([*command, "--models=MAF"]) == 2
    assert "unknown model 'MAF'" in capsys.readouterr().err

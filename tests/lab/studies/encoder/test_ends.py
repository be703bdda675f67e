"""Terms at the ends of the path: against Gaussian integrals and the bounds that they belong to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.lab.studies.encoder import replaced
from diffenc_jax.lab.studies.encoder.ends import fitted_latent, measure_ends
from diffenc_jax.lab.studies.encoder.measure import ByGamma, summarize
from diffenc_jax.lab.studies.encoder.replaced import REPLACEMENTS, measure_bounds
from diffenc_jax.lab.studies.study import UNWATCHED
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.trained import Trained
from diffenc_jax.runs.workdir import write_config
from tests import tiny
from tests.lab.studies.encoder.test_replaced import Affine
from tests.lab.studies.runs import write_images

GAMMA_MAX = 2.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with x_t = α² x and a score network that compiles fast."""
    folder = tmp_path_factory.mktemp("ends")
    changes = {"data__source": str(write_images(folder / "images.npz")), "model__schedule__gamma_max": GAMMA_MAX}
    config = tiny.config("nontrainable", eval__passes=2, eval__time_sampling="uniform", **changes)
    write_config(folder, config)
    parts = Experiment.load(config, "test", TRAIN)
    model = dataclasses.replace(parts.model, score=Affine(0.5))
    params = model.init(jax.random.key(0))
    return Trained(**vars(parts) | {"model": model}, workdir=folder, step=1, steps=[1], params=params)


@pytest.fixture(scope="module")
def ends(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replaced, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})
        bounds, records = measure_bounds(run, UNWATCHED)
    return bounds, measure_ends(run, records)


def values(images):
    return (2.0 * images + 1.0) / tiny.LEVELS - 1.0


def gaussian_kl(mean, variance, prior_mean, prior_variance):
    """KL(N(mean, variance) ‖ N(prior_mean, prior_variance)) by quadrature."""
    density, prior = norm(mean, np.sqrt(variance)), norm(prior_mean, np.sqrt(prior_variance))
    integrand = lambda z: density.pdf(z) * (density.logpdf(z) - prior.logpdf(z))  # noqa: E731
    return quad(integrand, mean - 12 * np.sqrt(variance), mean + 12 * np.sqrt(variance))[0]


@pytest.mark.parametrize("gamma", [-1.0, 2.0])
def test_the_fitted_latent_term_is_a_divergence_of_gaussians(gamma):
    alpha2, sigma2 = 1 / (1 + np.exp(gamma)), 1 / (1 + np.exp(-gamma))
    x, mean, variance = 0.7, -0.2, 0.3
    prior = np.sqrt(alpha2) * mean, alpha2 * variance + sigma2
    expected = gaussian_kl(np.sqrt(alpha2) * x, sigma2, *prior)
    arrays = jnp.full((1, 1), x), jnp.float32(gamma), jnp.full((1,), mean), jnp.full((1,), variance)
    assert fitted_latent(*arrays)[0] == pytest.approx(expected, rel=1e-4)


def test_the_terms_of_both_paths(run, ends):
    """x_1 = α² x and x_1 = x, with the moments of the training images."""
    alpha2, sigma2 = 1 / (1 + np.exp(GAMMA_MAX)), 1 / (1 + np.exp(-GAMMA_MAX))
    train, test = (values(run.dataset.splits[split]) for split in (TRAIN, "test"))
    for name, k in (("trained", alpha2), ("identity", 1.0)):
        z, mean = np.sqrt(alpha2) * k * test, np.sqrt(alpha2) * k * train.mean(axis=0)
        s2 = alpha2 * k**2 * train.var(axis=0) + sigma2
        latent = 0.5 * (z**2 + sigma2 - np.log(sigma2) - 1).sum(axis=(1, 2, 3))
        fitted = 0.5 * (np.log(s2 / sigma2) + (sigma2 + (z - mean) ** 2) / s2 - 1).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(ends[1][name].latent, latent, rtol=1e-4)
        np.testing.assert_allclose(ends[1][name].fitted, fitted, rtol=1e-4)


def test_the_terms_are_those_of_the_bounds(ends):
    bounds, found = ends
    for name, terms in found.items():
        for term in ("reconstruction", "latent"):
            nats = bounds[name]["bpd"][term] * 16 * np.log(2)
            assert getattr(terms, term).mean() == pytest.approx(nats, rel=1e-5)


def test_what_the_ends_win(ends):
    """The reconstruction terms, and the parts of the latent terms that a prior can win, paired by image."""
    trained, identity = ends[1].values()
    won = identity.reconstruction - trained.reconstruction
    won += (identity.latent - identity.fitted) - (trained.latent - trained.fitted)
    effects = ByGamma(np.arange(2.0), *np.ones((3, 13, 2)), np.zeros((1, 2, 2, 1)), *np.zeros((2, 1, 2, 2, 2, 1)))
    found, scale = summarize(effects, None, "", ends[1], ends[0], 16), 16 * np.log(2)
    assert found.won == pytest.approx([won.mean() / scale, won.std(ddof=1) / np.sqrt(13) / scale])
    assert found.ends["trained"]["latent"][0] == pytest.approx(trained.latent.mean() / scale)

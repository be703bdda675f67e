"""Effects of an encoder by γ against closed forms, its price by a derivative head on a frozen run, and sweeps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from diffenc_jax.__main__ import main
from diffenc_jax.diffusion.encoders import NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.process import Prediction
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies import encoder_bounds as bounds
from diffenc_jax.lab.studies import encoder_price as price
from diffenc_jax.lab.studies.by_time import measure_loss_by_time
from diffenc_jax.lab.studies.encoder_effects import measure_by_gamma, rows_by_gamma
from diffenc_jax.lab.studies.progressive import measure_rates
from diffenc_jax.nets.network import ScoreNetwork
from diffenc_jax.runs.base import BaseRun
from tests import stored_runs, tiny
from tests.diffusion.formulas import exact_velocity
from tests.lab.studies import runs
from tests.refusals import refused

IMAGES = tiny.images(7)
X = (2.0 * IMAGES + 1.0) / tiny.LEVELS - 1.0
X_HAT = 0.3
GAMMA_ENDS = -7.0, 5.0


class Wave(Trainable):
    """y = sin(γ + 2 x)."""

    def __init__(self):
        super().__init__(lambda x, gamma: jnp.sin(align(gamma, x) + 2.0 * x))


def opened(encoder, images=IMAGES, velocity=None, levels=tiny.LEVELS, batch_size=4):
    model = runs.model_of(encoder, velocity or runs.constant_image(X_HAT), GAMMA_ENDS, pixel_levels=levels)
    return runs.opened(model, images, batch_size=batch_size)


def columns(effects):
    """The columns of a result's rows."""
    rows = rows_by_gamma(effects, 16)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def test_every_column_of_the_nontrainable_encoder():
    """x_t = α² x, so dx_t/dλ = α² σ² x."""
    effects, gamma = measure_by_gamma(opened(NonTrainable()), 6), np.linspace(*GAMMA_ENDS, 6)
    x, at = X[:, None], gamma.reshape(6, 1, 1, 1)
    alpha2, sigma2 = 1 / (1 + np.exp(at)), 1 / (1 + np.exp(-at))
    expected = {"difference": sigma2 * x, "derivative": alpha2 * sigma2 * x, "residual": sigma2 * (alpha2 * x - X_HAT)}
    found = columns(effects)
    np.testing.assert_allclose(found["gamma"], gamma)
    for name, value in expected.items():
        by_image = np.square(value).mean(axis=(2, 3, 4))
        np.testing.assert_allclose(getattr(effects, name), by_image, rtol=1e-3)
        root, error = np.sqrt(by_image.mean(axis=0)), by_image.std(axis=0, ddof=1) / np.sqrt(7)
        np.testing.assert_allclose(found[name], root, rtol=1e-3)
        np.testing.assert_allclose(found[f"{name}_se"], error / (2 * root), rtol=3e-3)


def test_the_best_model_of_gaussian_data():
    """The mean of dx_t/dλ - σ² x̂ = σ² (x_t - x̂), squared, is σ⁴ Var[x_t | z_t].

    The price is ½ e^(-γ) k'² / (1 + e^(-γ) k²) per dimension for x_t = k x with k = α² and k' = -α² σ²: pixels ±1 have
    the covariance of N(0, I), whose E[x_t | z_γ] is linear.
    """
    velocity = exact_velocity(lambda gamma: jax.nn.sigmoid(-gamma))
    run = opened(runs.DoubledNonTrainable(), runs.binary_images(800), velocity, levels=2, batch_size=400)
    effects = measure_by_gamma(run, 4)
    sigma2, snr = 1 / (1 + np.exp(-effects.gamma)), np.exp(-effects.gamma)
    runs.assert_mean(effects.residual[None], sigma2**3 * runs.nontrainable_errors(effects.gamma)[0], 0.05)
    k = 1 - sigma2
    runs.assert_mean(effects.price[None], 16 * 0.5 * snr * np.square(k * sigma2) / (1 + snr * k**2), 0.05)


def test_the_estimate_of_a_derivative_head_is_used_where_there_is_one():
    """A head that estimates 0.2 everywhere misses the slope less 0.2."""

    class Headed(Wave):
        has_slope = True

    run = opened(Headed())
    process = dataclasses.replace(run.model.bind({}), predict=lambda z, gamma: Prediction(z, jnp.full_like(z, 0.2)))
    model = dataclasses.replace(run.model, process_of=lambda params: process)
    effects = measure_by_gamma(run.changed(model=model), 3)
    gamma = effects.gamma[1]
    missed = jax.jit(Wave().mean_and_slope)(np.float32(X), np.full(7, gamma, np.float32)).drift - 0.2
    weight = 0.5 * np.exp(gamma) / (1 + np.exp(gamma)) ** 2
    np.testing.assert_allclose(effects.price[:, 1], weight * np.square(missed).sum(axis=(1, 2, 3)), rtol=1e-4)


@pytest.fixture(autouse=True)
def one_replacement(monkeypatch):
    monkeypatch.setattr(bounds, "REPLACEMENTS", {"identity": bounds.REPLACEMENTS["identity"]})


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


def test_a_run_without_an_encoder_is_refused(home, capsys):
    error = refused(main, ["encoder-study", home / "vdm"], capsys)
    assert "vdm is a run of vdm, whose encoder changes nothing (x_t = x)" in error


STEPS = 300


class Pixelwise(ScoreNetwork):
    """A score network that returns 0, and a derivative head that is a small network of each pixel and the time."""

    @nn.compact
    def __call__(self, z, time, dropout_key=None, with_heads=False):
        self.param("unused", nn.initializers.ones, (1,))
        heads = {}
        if self.extra_heads and (with_heads or self.is_initializing()):
            heads["derivative"] = Head(name="derivative")(z, time)
        return (jnp.zeros_like(z), heads) if with_heads else jnp.zeros_like(z)


class Head(nn.Module):
    @nn.compact
    def __call__(self, z, time):
        h = jnp.concatenate([z, jnp.broadcast_to(time[:, None, None, None], z.shape)], axis=-1)
        for _ in range(2):
            h = nn.swish(nn.Dense(32)(h))
        return nn.Dense(1)(h)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on independent, nearly Gaussian pixels whose encoder network gives y = 0, and so x_t = α² x."""
    folder = tmp_path_factory.mktemp("head")
    pixels = np.random.RandomState(0).normal(8, 3, (300, 4, 4, 1)).round().clip(0, 16).astype(np.uint8)
    np.savez(folder / "images.npz", train=pixels[:200], test=pixels[200:])
    changes = {"data__source": str(folder / "images.npz"), "train__batch_size": 64, "eval__batch_size": 100}
    run = BaseRun.load(tiny.config("diffenc", **changes))
    model = dataclasses.replace(run.model, score=Pixelwise(), encoder=Trainable(runs.Affine()))
    return stored_runs.trained(run.changed(model=model), tiny.drawn(model, scale=0.0), folder)


@pytest.fixture(scope="module")
def trained(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(price, "LEARNING_RATE", 1e-2)  # at which few steps are enough
        return price.with_head(run, STEPS)


def test_a_trained_head_approaches_the_best_prediction(run, trained):
    """For Gaussian pixels and x_t = α² x it is linear; a constant has the rate without its denominator."""
    effects = measure_by_gamma(trained, 14)
    variance = np.square(2 / tiny.LEVELS) * run.dataset.split("test").data.var(axis=0).sum()
    alpha2, snr = 1 / (1 + np.exp(effects.gamma)), np.exp(-effects.gamma)
    constant = 0.5 * snr * np.square(alpha2 * (1 - alpha2)) * variance
    best = constant / (1 + snr * alpha2**2 * variance / 16)
    rates = effects.price.mean(axis=0), best, constant
    head, best, constant = (np.trapezoid(rate, effects.gamma) for rate in rates)
    assert best < 0.75 * constant
    assert 0.95 * best < head < best + 0.25 * (constant - best)


def test_all_else_is_frozen(run, trained):
    score = {name: leaf for name, leaf in trained.params["score"].items() if name != "derivative"}
    assert jax.tree.all(jax.tree.map(np.array_equal, trained.params | {"score": score}, run.params))


def test_no_head_is_trained_where_none_is_needed(run, trained):
    assert price.with_head(run, 0) is run
    assert price.with_head(trained, 5) is trained


# Values of images [images, draws, points] that depend on noise.
MEASURED = {
    "loss by time": lambda run: measure_loss_by_time(run, 3, num_draws=2).diffusion.swapaxes(0, 1),
    "effects by γ": lambda run: np.stack(measure_by_gamma(run, 3)[3:], axis=1),
    "rates": lambda run: measure_rates(run).rate[..., 1:].swapaxes(0, 1),
}


@pytest.mark.parametrize("measure", MEASURED.values(), ids=MEASURED)
def test_values_depend_on_the_image_its_position_the_draw_and_the_point_only(measure):
    """They depend neither on the batch nor on the other images. Of two equal images each has its own noise."""
    model = runs.model_of(NonTrainable(), lambda z, gamma: jnp.cos(3 * z), (-7.0, 5.0))
    changes, images = {"eval__passes": 2, "loss__depth": 3}, tiny.images(7)
    images[1] = images[0]
    whole, fewer = (measure(runs.opened(model, images[:n], n - 3, **changes)) for n in (7, 5))
    np.testing.assert_allclose(fewer, whole[:5], rtol=1e-4)
    assert len(np.unique(whole)) == whole.size

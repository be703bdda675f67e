"""Rate and distortion against closed forms and the library's bound, and the image that a receiver of z_t shows."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from diffenc_jax.__main__ import main
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Identity, NonTrainable, Shrinking, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.progressive import ImageRates, measure_rates, rows_of_rates, stage
from diffenc_jax.lab.studies.rate_distortion import Rates
from diffenc_jax.model import DataSpec, build
from diffenc_jax.runs.stored import StoredRun
from tests import tiny
from tests.diffusion.formulas import process_of
from tests.evaluation import gaussian
from tests.refusals import refused
from tests.stored_runs import trained, write_run

DEPTH, PASSES, LEVELS, VALUES = 6, 8, gaussian.LEVELS, gaussian.VALUES
# x_t / x by arm.
FACTORS = {"vdm": lambda gamma: np.ones_like(gamma), "nontrainable": lambda gamma: 1 / (1 + np.exp(gamma))}


def gain(gamma, factor):
    """x̂ / z with x̂ = E[x_t | z_t] for x ~ N(0, 0.3²) and x_t = factor x."""
    alpha2 = 1 / (1 + np.exp(gamma))
    return (gaussian.DEVIATION * factor) ** 2 * alpha2**0.5 / ((gaussian.DEVIATION * factor) ** 2 * alpha2 + 1 - alpha2)


@cache
def exact(arm):
    """A run of the exact model, and its rate and distortion."""
    changes = {"data__pixel_levels": LEVELS, "eval__batch_size": 50, "eval__passes": PASSES, "loss__depth": DEPTH}
    # So much noise at z_0 that the pixels are not known yet.
    config = tiny.config(arm, **changes, eval__time_sampling="uniform", model__schedule__gamma_min=-4.0)
    model = gaussian.Exact(**vars(build(config, DataSpec(gaussian.SHAPE, LEVELS))))
    run = trained(gaussian.run_with().changed(config=config, model=model), gaussian.PARAMS)
    return run, measure_rates(run)


def assert_expected(draws, pixels, by_level):
    """Assert that draws [passes, images], means over independent pixels, have these expectations [LEVELS] by pixel."""
    difference = draws - by_level[pixels].mean(axis=(1, 2, 3))
    error = np.sqrt(difference.var(axis=0, ddof=1).mean() / difference.size)
    assert error < 0.1 * draws.mean()
    assert abs(difference.mean()) < 4 * error + 1e-6


def costs(arm, gamma_s, gamma_t):
    """[LEVELS] nats of a step at ratio 1 by pixel, averaged over ε: ½ E (μ_Q - μ_P)² / σ_Q²."""
    f_s, f_t = (FACTORS[arm](gamma) for gamma in (gamma_s, gamma_t))
    alpha2_s, alpha2_t = (1 / (1 + np.exp(gamma)) for gamma in (gamma_s, gamma_t))
    shrink = np.exp(gamma_s - gamma_t)
    k = 0.0 if arm == "vdm" else (gamma_t - gamma_s) / (1 - shrink)
    share = (1 - shrink) * (1 + k * (1 - alpha2_t)) * gain(gamma_t, f_t)
    of_x = f_s - shrink * f_t - share * np.sqrt(alpha2_t) * f_t
    of_eps = share * np.sqrt(1 - alpha2_t)
    return 0.5 * alpha2_s * ((of_x * VALUES) ** 2 + of_eps**2) / ((1 - alpha2_s) * (1 - shrink))


def squares(scale, noise):
    """[LEVELS] mean squared error of the pixel nearest to scale · x + noise · ε, on a scale of 0 .. 255."""
    edges = 2 * np.arange(1, LEVELS) / LEVELS - 1
    below = ndtr((edges - scale * VALUES[:, None]) / noise)
    probability = np.diff(below, axis=1, prepend=0.0, append=1.0)
    level = np.arange(LEVELS)
    return np.sum(probability * (255 / (LEVELS - 1) * (level - level[:, None])) ** 2, axis=1)


@pytest.mark.parametrize("arm", FACTORS)
def test_rates_are_those_of_gaussian_data(arm):
    run, got = exact(arm)
    pixels, gamma = run.dataset.split("test").data, got.gamma
    alpha2 = 1 / (1 + np.exp(gamma[0]))
    x_1 = FACTORS[arm](gamma[0]) * VALUES
    nats = 0.5 * (alpha2 * x_1**2 - alpha2 + np.log1p(np.exp(-gamma[0])))
    latent = nats[pixels].mean(axis=(1, 2, 3)) / np.log(2)
    np.testing.assert_allclose(got.rate[..., 0], np.broadcast_to(latent, got.rate.shape[:2]), rtol=1e-4)
    for number in range(DEPTH):
        nats = nats + costs(arm, gamma[number + 1], gamma[number])
        assert_expected(got.rate[..., number + 1], pixels, nats / np.log(2))


@pytest.mark.parametrize("arm", FACTORS)
def test_distortions_are_those_of_gaussian_data(arm):
    """At z_t the pixel nearest to x̂ / (x_t / x), and at z_0 the one nearest to z_0 / α_0."""
    run, got = exact(arm)
    for number, gamma in enumerate(got.gamma[:-1]):
        factor, alpha2 = FACTORS[arm](gamma), 1 / (1 + np.exp(gamma))
        scale = gain(gamma, factor) / factor
        by_level = squares(scale * np.sqrt(alpha2) * factor, scale * np.sqrt(1 - alpha2))
        assert_expected(got.square[..., number], run.dataset.split("test").data, by_level)
    by_level = squares(FACTORS[arm](got.gamma[-1]), np.exp(0.5 * got.gamma[-1]))
    assert_expected(got.square[..., -1], run.dataset.split("test").data, by_level)


@pytest.mark.parametrize("arm", FACTORS)
def test_the_last_rate_is_the_bound_at_that_depth(arm):
    run, got = exact(arm)
    config = run.config.replace({"eval.passes": 64})
    record = Evaluator(run.changed(config=config)).evaluate(run.params)
    by_pass = got.rate[..., -1].mean(axis=1)
    error = np.hypot(record["standard_error"]["noise"], by_pass.std(ddof=1) / np.sqrt(PASSES))
    assert error < 0.02 * record["bpd"]["total"]
    assert abs(by_pass.mean() - record["bpd"]["total"]) < 4 * error


def test_another_seed_is_other_noise():
    run, found = exact("vdm")
    other = measure_rates(run.changed(config=run.config.replace({"eval.seed": 1})))
    assert np.all(found.rate[..., 1:] != other.rate[..., 1:])


def test_rates_and_errors_of_pixels_are_means_over_images_and_passes():
    """Two images in two passes over one step."""
    values = ImageRates(
        gamma=np.array([5.0, -8.0]),
        rate=np.array([[[0.1, 1.0, 1.5], [0.3, 2.0, 2.5]], [[0.1, 2.0, 2.5], [0.3, 3.0, 3.5]]]),
        square=np.array([[[100.0, 0.0], [300.0, 0.0]], [[100.0, 0.0], [300.0, 0.0]]]),
    )
    found = Rates(rows_of_rates(values))
    first, second, last = found.rows
    assert (first["rate"], first["rate_se"]) == pytest.approx((0.2, 0.1))
    assert (second["rate"], second["rate_se"]) == pytest.approx((2.0, 0.5))
    # The mean square is 200 ± 100, and the error of its root is 100 / (2 √200).
    assert (first["rmse"], first["rmse_se"]) == pytest.approx((200**0.5, 50 / 200**0.5))
    assert (second["rmse"], second["rmse_se"]) == (0.0, 0.0)
    assert (last["gamma"], last["rate"], last["rmse"]) == (None, 2.5, 0.0)
    (table,) = found.tables()
    assert [line[1] for line in table.rows] == ["5.00", "-8.00", "pixels"]
    assert table.rows[0] == [0, "5.00", "0.2000 ± 0.1000", "14.14 ± 3.54"]


def test_the_depth_of_the_study_is_that_of_the_option_the_key_or_the_run(home, capsys):
    deep = write_run(home / "deep", home / "images.npz", arm="diffenc", loss__depth=2, eval__passes=1)
    found = studies.measure("rate-distortion", deep).result
    assert [row["steps"] for row in found.rows] == [0, 1, 2, 2]
    study, config = studies.load("rate-distortion"), StoredRun(home / "vdm").config
    for given, depth, expected in (({}, None, 100), ({"loss.depth": 5}, None, 5), ({"loss.depth": 5}, 3, 3)):
        assert study.changes(config, given, study.arguments(depth=depth))["loss.depth"] == expected
    error = refused(main, ["rate-distortion", home / "vdm", "--depth=100000000"], capsys)
    assert "are too short for float32; take at most" in error


PIXELS = np.random.RandomState(0).randint(0, 256, (5, 3, 2)).astype(np.uint8)
EPS = np.random.RandomState(1).normal(size=PIXELS.shape).astype(np.float32)


ENCODERS = [
    (Identity(), True),
    (NonTrainable(), True),
    (Shrinking(0.5), True),
    (Trainable(lambda x, gamma: 0.0 * x), False),  # the same x_t as that of NonTrainable, but nobody knows
]


@pytest.mark.parametrize(("encoder", "is_exact"), ENCODERS)
def test_an_exact_estimate_of_the_encoded_image_shows_the_image_where_the_encoder_is_known(encoder, is_exact):

    @jax.jit
    def shown_and_expected(number, pixels, eps):
        """The pixels, and by hand the bins that they lie in."""
        x = Levels(256).values(pixels)

        def velocity(z, gamma):
            """v̂ whose x̂ is x_t."""
            alpha, sigma = (align(jnp.sqrt(jax.nn.sigmoid(g)), z) for g in (-gamma, gamma))
            return (alpha * z - encoder.mean(x, gamma)) / sigma

        process = process_of(encoder, velocity)
        step = process.uniform_steps(6).step(number, len(pixels))
        shown = x if is_exact else encoder.mean(x, step.gamma_t)
        return stage(process, step, pixels, eps)[0], Levels(256).in_bins(shown)

    for number in (2, 4, 5):
        pixels, expected = map(np.asarray, shown_and_expected(number, PIXELS, EPS))
        np.testing.assert_allclose(pixels.astype(np.float32), expected, atol=0.501)
        assert np.array_equal(pixels, PIXELS) == is_exact

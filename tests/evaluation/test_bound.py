"""The bound's times and noise, and the coverage of its standard errors on data whose bound has a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.evaluator import summarize
from diffenc_jax.evaluation.fit import Fit
from tests.evaluation.gaussian import IMAGES, LEVELS, PARAMS, PROBABILITY, VALUES, evaluate, images, make, run_with


def exact_pixel_nats():
    """[LEVELS] the noise-free bound of each pixel value, by quadrature over t and ε."""
    ends = run_with().model.gamma_range
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    grid = [np.repeat(VALUES, 60)[:, None], np.tile(nodes, LEVELS)[:, None]]
    u = np.float32(grid[0] + np.exp(0.5 * ends[0]) * grid[1])
    pixels = np.repeat(np.arange(LEVELS, dtype=np.uint8), 60)[:, None]
    log_likelihood = jax.jit(Levels(LEVELS).log_likelihood)(u, pixels, np.float32(ends[0]))
    reconstruction = -np.asarray(log_likelihood, np.float64).reshape(LEVELS, 60) @ weights / weights.sum()
    alpha2 = 1 / (1 + np.exp(ends[1]))
    latent = 0.5 * (alpha2 * VALUES**2 - alpha2 + np.log1p(np.exp(-ends[1])))
    gamma, step = np.linspace(*ends, 20_001, retstep=True)
    snr = np.exp(-gamma)
    # ‖x - x̂‖² = (x - c snr^½ (snr^½ x + ε))² with c = 0.09 / (0.09 snr + 1), averaged over ε
    c = 0.09 / (0.09 * snr + 1)
    error = (VALUES[:, None] * (1 - c * snr)) ** 2 + c**2 * snr
    integrand = 0.5 * snr * error
    diffusion = step * (integrand.sum(axis=1) - 0.5 * (integrand[:, 0] + integrand[:, -1]))
    return reconstruction + latent + diffusion


SETS = [("uniform", 3, 400), pytest.param("importance", 4, 1_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("sampling", "passes", "sets"), SETS)
def test_errors_cover_the_truth_as_often_as_they_say(sampling, passes, sets):
    """Intervals, for many sets of images, of ± 1.96 standard errors, over the same images and over all images."""
    bound = make(eval__time_sampling=sampling, eval__passes=passes)
    pixels, by_pixel, bits = images(sets * IMAGES, 100), exact_pixel_nats(), 1 / (np.log(2) * 2)
    values = evaluate(bound, pixels, bound.tables(PARAMS))
    same = everywhere = 0
    for start in range(0, len(pixels), IMAGES):
        chosen = slice(start, start + IMAGES)
        summary = summarize({name: rows[:, chosen] for name, rows in values.items()}, bound, dims=2)
        errors, total = summary["standard_error"], summary["bpd"]["total"]
        truth = by_pixel[pixels[chosen]].sum(axis=(1, 2, 3)).mean() * bits
        same += abs(total - truth) < 1.96 * errors["noise"]
        everywhere += abs(total - 2 * (PROBABILITY @ by_pixel) * bits) < 1.96 * errors["total"]
    assert 0.93 <= same / sets <= 0.97
    assert 0.93 <= everywhere / sets <= 0.97


def drawn(indices, number, passes, seed=0, cells=1):
    """(t, ε_0, ε_t, weight) of pass `number` for the images at `indices`."""
    mass = jnp.asarray(np.arange(1, cells + 1) / np.arange(1, cells + 1).sum(), jnp.float32)
    noise, weight = make(eval__passes=passes, eval__seed=seed).noise({"mass": mass}, jnp.asarray(indices), number)
    return [np.asarray(a) for a in (*noise, weight)]


def test_times_are_spread_over_the_passes_of_a_group_and_groups_are_independent():
    times = np.stack([drawn(np.arange(200), p, 8)[0] for p in range(8)])
    for group in (times[::2], times[1::2]):
        np.testing.assert_allclose(np.diff(np.sort(group, axis=0), axis=0), 0.25, atol=1e-6)
    assert abs(np.corrcoef(np.mod(times[0], 0.25), np.mod(times[1], 0.25))[0, 1]) < 0.25
    for row in times:
        counts, _ = np.histogram(row, bins=4, range=(0, 1))
        assert np.abs(counts - 50).max() < 4 * np.sqrt(50)


def test_an_images_noise_is_its_own_whatever_the_batch():
    first = drawn([100_000, 2, 7], 2, 3, cells=5)
    second = drawn([5, 100_000, 9], 2, 3, cells=5)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[0], b[1])
    for changed in (dict(indices=[5, 9, 8]), dict(number=1), dict(seed=1)):
        other = drawn(**dict(indices=[100_000, 2, 7], number=2, passes=3, cells=5) | changed)
        for a, b in zip(first[:3], other[:3], strict=True):
            assert not np.any(a == b)


@pytest.mark.slow
def test_bounds_of_several_depths_share_a_fit_and_have_the_values_of_their_own():
    """Bounds with a given loss, passes and fit equal those of a configuration that says so."""
    subject, pixels = run_with(), images(30, 7)
    fit = Fit(subject, PARAMS)
    for depth, ratio, times in ((3, "optimal", "uniform"), (5, 1.0, "optimal")):
        loss = LossConfig(depth, "linear", ratio, times)
        shared = Bound(subject, loss, passes=2, fit=fit)
        alone = make(loss__depth=depth, loss__variance_ratio=ratio, loss__times=times, eval__passes=2)
        assert (shared.name, shared.describe()) == (alone.name, alone.describe())
        values = [evaluate(bound, pixels, bound.tables(PARAMS)) for bound in (shared, alone)]
        for term in shared.terms:
            np.testing.assert_allclose(values[0][term], values[1][term], rtol=1e-6)

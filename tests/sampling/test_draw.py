"""Images as functions of (seed, number); frames of their path; reconstructions from amid the path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.core.errors import InputError, RunError
from diffenc_jax.core.streams import gaussian, stream
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.ancestral import ancestral
from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.flow import MAX_STEPS, Solver, likelihood_of
from diffenc_jax.diffusion.gaussian import alpha, sigma
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.reverse import linear, mean
from diffenc_jax.diffusion.steps import Step
from diffenc_jax.sampling import samplers
from diffenc_jax.sampling.samplers import Request, make_sampler, needs_training_images
from tests import tiny
from tests.evaluation import gaussian as exact
from tests.evaluation.subject import experiment as experiment_of
from tests.sampling import subject

SHAPE = (4, 4, 1)
DEPTH = 3


@pytest.fixture
def drawer(monkeypatch):
    """Three steps, in one part of one step and another of two."""
    monkeypatch.setattr(samplers, "PARTS", 2)
    return subject.drawer(sample__depth=DEPTH)


def draw(drawer, first, count):
    """The images; checks that the shares passed to `on_part` add up to 1."""
    parts = []
    images = drawer.images(first, count, parts.append).images
    assert sum(parts) == pytest.approx(1.0)
    return images


def noise(name, number, place):
    """The noise of the image of this number."""
    return gaussian(jax.random.fold_in(jax.random.fold_in(stream(0, name), number), place), SHAPE)


@pytest.fixture(scope="module")
def by_hand():
    """(stream, z, first step) -> pixels of the images 0 .. 3, in one loop over the steps."""
    model, params = subject.experiment().model, subject.parameters()
    steps = model.steps(params, LossConfig(DEPTH))
    run = jax.jit(lambda z, eps, first: ancestral(model.bind(params), steps, z, lambda k: eps[k], first))

    def pixels(name, z, first):
        eps = jnp.stack([jnp.stack([noise(name, i, 2 + k) for i in range(4)]) for k in range(DEPTH)])
        return decoder.nearest_pixel(run(z, eps, first) / alpha(steps.gamma[0]), tiny.LEVELS)

    return pixels


def test_an_image_depends_on_its_number_only(drawer, by_hand):
    """One loop over all steps, twelve at a time and four."""
    together = draw(drawer, 0, 12)
    z_1 = jnp.stack([noise("sample", i, 0) for i in range(4)])
    np.testing.assert_array_equal(together[:4], by_hand("sample", z_1, 0))
    separate = np.concatenate([draw(drawer, first, 4) for first in (0, 4, 8)])
    np.testing.assert_array_equal(separate, together)
    assert len({image.tobytes() for image in together}) == 12


def values(in_bins):
    """x from the axis on which pixel k has the value k."""
    return jnp.asarray(2 * (in_bins + 0.5) / tiny.LEVELS - 1)


def test_frames_of_the_path(drawer):
    frames = drawer.path(4, lambda share: None)
    gammas = [frame.gamma for frame in frames]
    low, high = subject.experiment().model.gamma_range
    assert gammas == pytest.approx([high, low + (high - low) * 2 / 3, low], rel=1e-5)
    # The first is noise, and the last the images.
    z_1 = jnp.stack([noise("sample", i, 0) for i in range(4)])
    np.testing.assert_allclose(frames[0].z, decoder.in_bins(z_1, tiny.LEVELS), rtol=1e-5)
    last = decoder.nearest_pixel(values(frames[-1].z) / alpha(jnp.float32(low)), tiny.LEVELS)
    np.testing.assert_array_equal(last, draw(drawer, 0, 4))
    # The first part is a step: its mean follows from x̂.
    gamma_s, gamma_t = (jnp.full(4, gamma, jnp.float32) for gamma in (gammas[1], gammas[0]))
    step = Step(gamma_s, gamma_t, Table(jnp.ones(4)), jnp.ones(()))
    centre = mean(z_1, linear(values(frames[0].x_hat), step, Identity()), step)
    eps = jnp.stack([noise("sample", i, 2) for i in range(4)])
    z_s = centre + jnp.sqrt(step.variance(Identity()))[:, None, None, None] * eps
    np.testing.assert_allclose(values(frames[1].z), z_s, rtol=1e-4, atol=1e-5)


def test_reconstructions(drawer, by_hand):
    """From the data end they are the originals, from amid the path the result of the remaining steps."""
    originals = tiny.images(4)
    near, amid = (drawer.reconstruct(Batch(originals), t, lambda share: None) for t in (1e-3, 0.6))
    np.testing.assert_array_equal(near.images, originals)
    low, high = subject.experiment().model.gamma_range
    assert (near.gamma, amid.gamma) == pytest.approx((low, low + (high - low) * 2 / 3), rel=1e-5)
    eps = jnp.stack([noise("reconstruct", i, 0) for i in range(4)])
    gamma = jnp.float32(amid.gamma)
    z = alpha(gamma) * decoder.pixel_values(jnp.asarray(originals), tiny.LEVELS) + sigma(gamma) * eps
    np.testing.assert_array_equal(amid.images, by_hand("reconstruct", z, 1))


def test_drawn_pixels_are_near_the_most_probable_ones():
    """At a noise of 0.166 of a bin, a pixel differs by one at most."""
    drawn, mode = (draw(subject.drawer(sample__output=output), 0, 12) for output in ("softmax", "argmax"))
    differs = np.abs(drawn.astype(int) - mode)
    assert 0 < differs.mean() < 0.2
    assert differs.max() == 1


def keys_of(count):
    """Keys of the images 0 .. count - 1."""
    return jax.vmap(lambda i: jax.random.fold_in(stream(0, "sample"), i))(jnp.arange(count))


@pytest.mark.parametrize("changes", [{}, {"sample__likelihood": True}, {"sample__likelihood": True, "ode__probes": 3}])
def test_the_flow_of_gaussian_pixels(changes):
    """z_0 is z_1 times the quotient of the marginals' standard deviations, and so is its density's inverse."""
    changed = exact.experiment(sample__sampler="flow", ode__rtol=1e-5, ode__atol=1e-5, **changes)
    sampler = make_sampler(changed)
    z_1 = jnp.asarray(np.random.RandomState(0).normal(size=(8, *exact.SHAPE)), jnp.float32)
    ((z_0, share, likelihood),) = sampler.walk(exact.PARAMS, sampler.prepare(exact.PARAMS), Request(keys_of(8)), z_1)
    endpoints = changed.model.bind(exact.PARAMS).endpoints
    deviations = [np.hypot(exact.DEVIATION * alpha(gamma), sigma(gamma)) for gamma in endpoints]
    np.testing.assert_allclose(z_0, z_1 * deviations[0] / deviations[1], rtol=1e-3)
    assert share == 1.0
    if not changes:
        assert likelihood is None
        return
    log_density = scipy.stats.norm.logpdf(z_1) - np.log(deviations[0] / deviations[1])
    np.testing.assert_allclose(likelihood.nats, -log_density.sum(axis=(1, 2, 3)), atol=1e-3)
    # The density of x̃ = z_0 / α_0 times a bin's width
    in_bin = log_density + np.log(alpha(endpoints[0])) + np.log(2 / exact.LEVELS)
    np.testing.assert_allclose(likelihood.bits_per_dim, -in_bin.mean(axis=(1, 2, 3)) / np.log(2), atol=1e-3)


@pytest.mark.slow
def test_the_likelihood_of_a_sample_is_that_of_its_way_back():
    """From z_0 to the noise that it came from, with the exact divergence."""
    changes = {"sample__sampler": "flow", "sample__likelihood": True, "ode__divergence": "exact"}
    changed, params = subject.experiment(ode__rtol=1e-5, ode__atol=1e-5, **changes), subject.parameters()
    z_1 = jnp.stack([noise("sample", i, 0) for i in range(2)])
    ((z_0, _, likelihood),) = make_sampler(changed).walk(params, None, Request(keys_of(2)), z_1)

    @jax.jit
    def up(z):
        return likelihood_of(changed.model.bind(params), z, None, Solver(1e-5, 1e-5))

    expected = 0.5 * (jnp.square(z_1).sum((1, 2, 3)) + 16 * np.log(2 * np.pi))
    np.testing.assert_allclose(up(z_0).prior, expected, rtol=2e-3)
    np.testing.assert_allclose(likelihood.nats, up(z_0).total, atol=16 * 2e-3)
    assert float(jnp.abs(z_0 - z_1).max()) > 0.1


def test_a_solver_that_gives_up_ends_the_run():
    """No number of steps reaches the end from a z that is not finite."""
    sampler = make_sampler(exact.experiment(sample__sampler="flow"))
    z_1 = jnp.zeros((4, *exact.SHAPE)).at[:3].set(jnp.inf)
    with pytest.raises(RunError, match=rf"gave up on 3 images after {MAX_STEPS} steps; give larger ode.rtol"):
        list(sampler.walk(exact.PARAMS, None, Request(jax.random.split(jax.random.key(0), 4)), z_1))


def test_a_model_without_a_flow_is_refused():
    changes = {"sample__sampler": "flow", "model__derivative_head": True}
    assert make_sampler(experiment_of("diffenc", **changes)).name == "flow-rtol0.0001-atol0.0001"
    likelihood = {"sample__likelihood": True, "ode__probes": 4}
    assert make_sampler(experiment_of("diffenc", **changes | likelihood)).name.endswith("atol0.0001-hutchinson4")
    with pytest.raises(InputError, match=r"draw by steps \(sample\.sampler=ancestral\)"):
        make_sampler(experiment_of("diffenc", **changes | {"model__derivative_head": False}))


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, False),
        ({"loss__depth": 3, "loss__variance_ratio": "optimal"}, True),
        ({"loss__depth": 3, "loss__times": "optimal"}, True),
        ({"loss__depth": 3, "loss__times": "optimal", "sample__sampler": "flow"}, False),
    ],
)
def test_training_images_are_needed_for_fits_only(changes, needed):
    assert needs_training_images(tiny.config("vdm", **changes)) == needed

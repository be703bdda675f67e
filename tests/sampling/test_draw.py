"""Images by (seed, number) alone; what is seen of them on the way; images drawn anew from amid the path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.gaussian import alpha, sigma
from diffenc_jax.diffusion.likelihood import DIVERGENCES, ode_likelihood
from diffenc_jax.diffusion.samplers import ancestral
from diffenc_jax.diffusion.steps import reverse, still
from diffenc_jax.errors import InputError, RunError
from diffenc_jax.model import ImageSpec, LossConfig, build
from diffenc_jax.sampling import samplers
from diffenc_jax.sampling.samplers import make_sampler
from diffenc_jax.streams import gaussian, stream
from diffenc_jax.train import sharding
from tests import tiny
from tests.estimators import gaussian as exact
from tests.sampling import subject as subjects

SHAPE = (4, 4, 1)
DEPTH = 3


@pytest.fixture(scope="module")
def subject():
    return subjects.subject()


@pytest.fixture
def drawer(subject, monkeypatch):
    """Three steps, in a part of one and another of two."""
    monkeypatch.setattr(samplers, "PARTS", 2)
    return subject.drawer(sample__depth=DEPTH)


def draw(drawer, first, count):
    """The images, having made sure that the parts that are told of make up a whole."""
    parts = []
    images = drawer.images(first, count, parts.append)
    assert sum(parts) == pytest.approx(1.0)
    return images


def noise(name, number, place):
    """What the image of this number draws."""
    return gaussian(jax.random.fold_in(jax.random.fold_in(stream(0, name), number), place), SHAPE)


@pytest.fixture(scope="module")
def by_hand(subject):
    """(stream, z, step to begin with) -> pixels of the images 0 .. 3, in one loop over the steps."""
    model, params = subject
    steps = model.steps(params, LossConfig(DEPTH, "linear", 1.0, "uniform"))
    run = jax.jit(lambda z, eps, first: ancestral(model.predict_v(params), still, steps, z, lambda k: eps[k], first))

    def pixels(name, z, first):
        eps = jnp.stack([jnp.stack([noise(name, i, 2 + k) for i in range(4)]) for k in range(DEPTH)])
        return decoder.nearest_pixel(run(z, eps, first) / alpha(steps.gamma[0]), tiny.LEVELS)

    return pixels


def test_an_image_is_its_number_whatever_it_is_drawn_with(drawer, by_hand):
    """One loop over all steps, twelve at a time and four."""
    together = draw(drawer, 0, 12)
    z_1 = jnp.stack([noise("sample", i, 0) for i in range(4)])
    np.testing.assert_array_equal(together[:4], by_hand("sample", z_1, 0))
    apart = np.concatenate([draw(drawer, first, 4) for first in (0, 4, 8)])
    np.testing.assert_array_equal(apart, together)
    assert len({image.tobytes() for image in together}) == 12


def values(in_bins):
    """From the axis on which pixel k stands at k."""
    return jnp.asarray(2 * (in_bins + 0.5) / tiny.LEVELS - 1)


def test_what_is_seen_on_the_way(subject, drawer):
    frames = drawer.path(4, lambda share: None)
    gammas = [frame.gamma for frame in frames]
    low, high = subject.model.time_range
    assert gammas == pytest.approx([high, low + (high - low) * 2 / 3, low], rel=1e-5)
    # The first is noise, and the last the images.
    z_1 = jnp.stack([noise("sample", i, 0) for i in range(4)])
    np.testing.assert_allclose(frames[0].z, decoder.in_bins(z_1, tiny.LEVELS), rtol=1e-5)
    last = decoder.nearest_pixel(values(frames[-1].z) / alpha(jnp.float32(low)), tiny.LEVELS)
    np.testing.assert_array_equal(last, draw(drawer, 0, 4))
    # The first part is a step: its mean follows from x̂.
    gamma_s, gamma_t = (jnp.full(4, gamma, jnp.float32) for gamma in (gammas[1], gammas[0]))
    mean, variance = reverse(z_1, values(frames[0].x_hat), gamma_s, gamma_t, still(gamma_s, gamma_t))
    eps = jnp.stack([noise("sample", i, 2) for i in range(4)])
    z_s = mean + jnp.sqrt(variance)[:, None, None, None] * eps
    np.testing.assert_allclose(values(frames[1].z), z_s, rtol=1e-4, atol=1e-5)


def test_images_drawn_anew(subject, drawer, by_hand):
    """From the data's end they are themselves, from amid the path what the steps below make of them."""
    originals = tiny.images(4)
    near, amid = (drawer.redrawn(originals, t, lambda share: None) for t in (1e-3, 0.6))
    np.testing.assert_array_equal(near.images, originals)
    low, high = subject.model.time_range
    assert (near.gamma, amid.gamma) == pytest.approx((low, low + (high - low) * 2 / 3), rel=1e-5)
    eps = jnp.stack([noise("reconstruct", i, 0) for i in range(4)])
    gamma = jnp.float32(amid.gamma)
    z = alpha(gamma) * decoder.pixel_values(jnp.asarray(originals), tiny.LEVELS) + sigma(gamma) * eps
    np.testing.assert_array_equal(amid.images, by_hand("reconstruct", z, 1))


def test_a_draw_of_the_pixels_is_near_the_most_probable_ones(subject):
    """At 0.166 of a bin: a pixel differs by one at most, and where it does it was a near thing."""
    drawn, mode = (draw(subject.drawer(sample__output=output), 0, 12) for output in ("softmax", "argmax"))
    differs = np.abs(drawn.astype(int) - mode)
    assert 0 < differs.mean() < 0.2
    assert differs.max() == 1


def test_the_flow_of_gaussian_pixels():
    """z_0 is z_1 times the quotient of the marginals' deviations."""
    config = tiny.config("vdm", data__levels=exact.LEVELS, sample__sampler="flow", ode__rtol=1e-5, ode__atol=1e-5)
    model = exact.gaussian_model(config)
    sampler = make_sampler(model, config, subjects.DATA, sharding.make_mesh())
    z_1 = jnp.asarray(np.random.RandomState(0).normal(size=(8, *exact.SHAPE)), jnp.float32)
    ((z_0, share),) = sampler.walk(exact.PARAMS, sampler.prepare(exact.PARAMS), None, z_1)
    deviations = [np.hypot(exact.DEVIATION * alpha(gamma), sigma(gamma)) for gamma in model.ends(exact.PARAMS)]
    np.testing.assert_allclose(z_0, z_1 * deviations[0] / deviations[1], rtol=1e-3)
    assert share == 1.0


@pytest.mark.slow
def test_the_likelihood_takes_a_sample_of_the_flow_back_to_its_noise(subject):
    model, params = subject
    config = tiny.config("vdm", sample__sampler="flow", ode__rtol=1e-5, ode__atol=1e-5)
    sampler = make_sampler(model, config, subjects.DATA, sharding.make_mesh())
    z_1 = jnp.stack([noise("sample", i, 0) for i in range(2)])
    ((z_0, _),) = sampler.walk(params, None, None, z_1)
    up = jax.jit(
        lambda z: ode_likelihood(
            model.flow(params), z, model.ends(params), jnp.ones_like(z), DIVERGENCES["hutchinson"], 1e-5, 1e-5
        )
    )
    expected = 0.5 * (jnp.square(z_1).sum((1, 2, 3)) + 16 * np.log(2 * np.pi))
    np.testing.assert_allclose(up(z_0).prior, expected, rtol=2e-3)
    assert float(jnp.abs(z_0 - z_1).max()) > 0.1


def test_who_is_given_up_on_ends_the_run(subject, monkeypatch):
    sampler = make_sampler(
        subject.model, tiny.config("vdm", sample__sampler="flow"), subjects.DATA, sharding.make_mesh()
    )
    monkeypatch.setattr(sampler, "_carry", lambda params, z_1: (z_1, jnp.int32(3)))
    with pytest.raises(RunError, match=rf"gave up on 3 images after {samplers.MAX_STEPS} steps; give larger ode.rtol"):
        list(sampler.walk(subject.params, None, None, jnp.zeros((4, *SHAPE))))


def test_an_arm_without_a_flow_is_refused():
    for head in (False, True):
        config = tiny.config("diffenc", model__derivative_head=head, sample__sampler="flow")
        model = build(config, ImageSpec(SHAPE, tiny.LEVELS))
        if head:
            assert make_sampler(model, config, subjects.DATA, sharding.make_mesh()).name == "flow-rtol0.0001-atol0.0001"
            continue
        with pytest.raises(InputError, match=r"draw by steps \(sample\.sampler=ancestral\)"):
            make_sampler(model, config, subjects.DATA, sharding.make_mesh())

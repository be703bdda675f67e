"""Samples of a model that is conditioned on labels: of the class that is asked for, or of all classes in turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion.gaussian import alpha, sigma
from diffenc_jax.runs.workdir import write_config
from diffenc_jax.sampling.draw import Drawer, SamplerFunctions
from diffenc_jax.sampling.samplers import Request, make_sampler
from diffenc_jax.sampling.sampling import Sampling
from tests import tiny
from tests.evaluation.gaussian import DEVIATION, LEVELS, SHAPE
from tests.evaluation.gaussian_classes import MEANS, PARAMS, experiment

CLASSES = len(MEANS)


def drawn(count, first=0, **changes):
    changed = experiment(sample__depth=60, **changes)
    drawer = Drawer(SamplerFunctions(changed, make_sampler(changed)), PARAMS)
    return drawer.images(first, count, lambda share: None).images


def test_images_count_through_the_classes():
    """Each is the one that its own class would have, and has the mean of its class."""
    images = drawn(800)
    values = (2 * images.astype(np.float64) + 1) / LEVELS - 1
    for label in range(CLASSES):
        of_class = values[label::CLASSES].ravel()
        assert abs(of_class.mean() - MEANS[label]) < 4 * DEVIATION / np.sqrt(of_class.size)
        assert of_class.std() == pytest.approx(DEVIATION, rel=0.15)
        alone = drawn(8, first=4, sample__label=label)
        np.testing.assert_array_equal(alone[label::CLASSES], images[4 + label : 12 : CLASSES])
        assert not np.array_equal(alone, images[4:12])


def test_the_flow_of_each_image_is_that_of_its_class():
    """z_0 is at the same quantile of its class as z_1, and its likelihood is the one given its class."""
    changed = experiment(sample__sampler="flow", sample__likelihood=True, ode__probes=2, ode__rtol=1e-5, ode__atol=1e-5)
    z_1 = jnp.asarray(np.random.RandomState(0).normal(size=(8, *SHAPE)), jnp.float32)
    labels = jnp.arange(8, dtype=jnp.int32) % CLASSES
    keys = jax.random.split(jax.random.key(0), 8)
    ((z_0, _, likelihood),) = make_sampler(changed).walk(PARAMS, None, Request(keys, labels), z_1)
    gamma_0, gamma_1 = changed.model.bind(PARAMS).endpoints
    mean = MEANS[labels][:, None, None, None]
    d_0, d_1 = (np.hypot(DEVIATION * alpha(gamma), sigma(gamma)) for gamma in (gamma_0, gamma_1))
    expected = alpha(gamma_0) * mean + (z_1 - alpha(gamma_1) * mean) * d_0 / d_1
    np.testing.assert_allclose(z_0, expected, rtol=2e-3, atol=1e-4)
    log_density = scipy.stats.norm.logpdf(z_1) - np.log(d_0 / d_1)
    np.testing.assert_allclose(likelihood.nats, -log_density.sum(axis=(1, 2, 3)), atol=2e-3)


def test_files_and_pictures_have_a_column_per_class(tmp_path):
    chosen = experiment(sample__num=10, sample__path=True, sample__reconstruct=(0.5,))
    write_config(tmp_path, chosen.config)
    files = Sampling(chosen).write(PARAMS, 7, tmp_path, lambda share: None)
    with Image.open(files["samples"]) as picture:  # images of 1 x 2 pixels, gaps of one
        assert picture.width / picture.height == pytest.approx((3 * CLASSES - 1) / (2 * 3 - 1), rel=0.01)
    one = experiment(sample__num=10, sample__label=2)
    other = Sampling(one).write(PARAMS, 7, tmp_path, lambda share: None)["images"]
    assert other.name == "7-depth3-label2-seed0.npz"
    with np.load(other) as ours, np.load(files["images"]) as all_classes:
        same = (ours["images"] == all_classes["images"]).all(axis=(1, 2, 3))
    assert same[2::CLASSES].all()
    assert not same.all()


def test_a_class_that_there_is_not_is_refused():
    with pytest.raises(InputError, match=r"sample.label=4 is no class of gaussian classes; take one of 0 .. 3"):
        Sampling(experiment(sample__label=4))
    with pytest.raises(InputError, match=r"sample.label must be at least 0"):
        experiment(sample__label=-1)
    with pytest.raises(InputError, match=r"sample.label=1 is for a model that is conditioned on labels; train with"):
        tiny.config("vdm", sample__label=1)

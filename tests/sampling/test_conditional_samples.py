"""Samples of a model that is conditioned on labels, a latent code, or augmentation."""

import jax
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError, NotFinite
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.sampling.samplers import Request, Sampler
from diffenc_jax.sampling.sampling import Sampling
from tests import tiny
from tests.evaluation import subject
from tests.evaluation.gaussian import DEVIATION, LEVELS, MEANS, PARAMS, SHAPE, coded_run, run_of_classes

CLASSES = len(MEANS)


def drawn(count, **changes):
    return Sampling(run_of_classes(sample__depth=60, sample__batch_size=800, **changes)).images(PARAMS, count)


def test_images_count_through_the_classes(tmp_path):
    """Each is the one that its own class would have, and has the mean of its class."""
    images = drawn(800)
    values = (2 * images.astype(np.float64) + 1) / LEVELS - 1
    for label in range(CLASSES):
        of_class = values[label::CLASSES].ravel()
        assert abs(of_class.mean() - MEANS[label]) < 4 * DEVIATION / np.sqrt(of_class.size)
        assert of_class.std() == pytest.approx(DEVIATION, rel=0.15)
    alone = drawn(8, sample__label=2)
    np.testing.assert_array_equal(alone[2::CLASSES], images[2:8:CLASSES])
    assert not np.array_equal(alone, images[:8])
    one = run_of_classes(sample__num=2, sample__label=2)
    StoredRun(tmp_path).write(one.config)
    path = Sampling(one).write(PARAMS, 7, StoredRun(tmp_path), lambda share: None)["images"]
    assert path.name == "7-depth3-label2-seed0.npz"


def test_the_flow_of_each_image_is_that_of_its_class():
    """z_0 is at the same quantile of its class as z_1; from infinity nothing arrives."""
    changed = run_of_classes(sample__sampler="flow", ode__rtol=1e-5, ode__atol=1e-5)
    z_1 = np.random.RandomState(0).normal(size=(8, *SHAPE)).astype(np.float32)
    labels = np.arange(8, dtype=np.int32) % CLASSES
    sampler, request = Sampler.of(changed), Request(jax.random.split(jax.random.key(0), 8), labels)
    ((z_0, share),) = sampler.walk(PARAMS, None, request, z_1)
    a_0, a_1 = (1 / np.sqrt(1 + np.exp(gamma)) for gamma in changed.model.gamma_range)
    mean = MEANS[labels][:, None, None, None]
    d_0, d_1 = (np.hypot(DEVIATION * a, np.sqrt(1 - a**2)) for a in (a_0, a_1))
    expected = a_0 * mean + (z_1 - a_1 * mean) * d_0 / d_1
    np.testing.assert_allclose(z_0, expected, rtol=2e-3, atol=1e-4)
    assert share == 1.0
    z_1 = np.concatenate([np.full_like(z_1[:3], np.inf), z_1[3:]])
    ((z_0, _),) = sampler.walk(PARAMS, None, request, z_1)
    total = np.asarray(z_0).sum(axis=(1, 2, 3))
    assert np.isfinite(total).tolist() == [False] * 3 + [True] * 5
    with pytest.raises(NotFinite, match=r"sample 12 has nan: the solver needs .*; give larger ode.rtol, ode.atol"):
        sampler.check_finite("sample {}", 10 + np.arange(6), total[[3, 4, 0, 1, 2, 5]], PARAMS)


def test_a_class_that_there_is_not_is_refused():
    with pytest.raises(InputError, match=r"sample.label=4 is no class of digits; take one of 0 .. 3"):
        Sampling(run_of_classes(sample__label=4))


@pytest.mark.slow
def test_samples_are_those_of_all_codes_equally():
    """The mean and the variance are those of the mixture; an image does not depend on the others."""
    chosen, params = coded_run(sample__depth=60, sample__batch_size=1200)
    images = Sampling(chosen).images(params, 1200)
    means = ((2 * images.astype(np.float64) + 1) / LEVELS - 1).mean(axis=(1, 2, 3))
    variance = MEANS.var() + DEVIATION**2 / np.prod(SHAPE)
    assert abs(means.mean() - MEANS.mean()) < 4 * np.sqrt(variance / len(means))
    assert abs(means.var() / variance - 1) < 0.2
    np.testing.assert_array_equal(Sampling(chosen).images(params, 3), images[:3])


def test_samples_have_no_augmentation():
    model = subject.run_with("vdm", train__augment="flip", model__augmentation=True).model
    params = tiny.drawn(model)
    conditioned, plain = (
        Sampling(subject.run_with("vdm", train__augment="flip", sample__depth=8, **changes)).images(given, 6)
        for given, changes in ((params, {"model__augmentation": True}), (tiny.without_condition(params), {}))
    )
    assert len(np.unique(plain)) > 5
    assert np.mean(conditioned == plain) > 0.99  # but for rounding

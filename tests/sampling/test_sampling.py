"""Images as functions of (seed, number) and of their conditions, and their files, which the same command continues."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.core import versions
from diffenc_jax.core.errors import InputError, Interrupted, NotFinite
from diffenc_jax.core.streams import gaussian, stream
from diffenc_jax.diffusion.ancestral import ancestral
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.gaussian import alpha
from diffenc_jax.runs.files import read_arrays, write_arrays
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.sampling import samplers
from diffenc_jax.sampling.pictures import picture
from diffenc_jax.sampling.sampling import Sampling
from tests import tiny
from tests.evaluation import subject
from tests.evaluation.gaussian import DEVIATION, LEVELS, MEANS, PARAMS, SHAPE, coded_run, run_of_classes

IMAGE_SHAPE, DEPTH = (4, 4, 1), 3
SMALL = {"sample__num": 12, "sample__batch_size": 4, "sample__depth": DEPTH}
STEM = f"7-depth{DEPTH}-seed0"
run_with = partial(subject.run_with, "vdm")
# Small ones: samples of a random network follow its rounding, not their noise.
parameters = partial(subject.parameters, "vdm", scale=0.03)


@cache
def sampling(**changes):
    """The sampling of a configuration, compiled once."""
    return Sampling(run_with(**changes))


@pytest.fixture(scope="module")
def expected():
    """The images 0 .. 11, in one loop over all steps, with noise by name, number and step."""
    model, params = run_with().model, parameters()

    def noise(place):
        def of_image(i):
            return gaussian(jax.random.fold_in(jax.random.fold_in(stream(0, "sample"), i), place), IMAGE_SHAPE)

        return jax.lax.map(of_image, jnp.arange(12))

    @jax.jit
    def sampled():
        steps, eps = model.steps(params, LossConfig(DEPTH)), jax.lax.map(noise, jnp.arange(2, 2 + DEPTH))
        z_0 = ancestral(model.bind(params), steps, noise(0), lambda k: eps[k])
        return Levels(tiny.LEVELS).mode(z_0 / alpha(steps.gamma[0]))

    return np.asarray(sampled())


@pytest.fixture
def workdir(tmp_path):
    StoredRun(tmp_path).write(tiny.config("vdm"))
    return tmp_path


def arrays(path):
    """The arrays of a file of samples by name."""
    return read_arrays(path.read_bytes())


def images(path):
    return arrays(path)["images"]


def test_an_image_depends_on_its_number_only(expected, monkeypatch):
    """Three steps in one part of one step and another of two; in batches of four and of five."""
    monkeypatch.setattr(samplers, "PARTS", 2)
    for changes in (SMALL, dict(sample__depth=DEPTH, sample__batch_size=5, log__samples=5)):
        parts, chosen = [], sampling(**changes)
        np.testing.assert_array_equal(chosen.images(parameters(), 12, parts.append), expected)
        assert sum(parts) == pytest.approx(1.0)
    assert len({image.tobytes() for image in expected}) == 12
    shown = chosen.picture(parameters(), lambda share: None)
    np.testing.assert_array_equal(shown[..., 0], picture(expected[:5], tiny.LEVELS))


def test_drawn_pixels_are_near_the_most_probable_ones(expected):
    """At a noise of 0.166 of a bin, a pixel differs by one at most."""
    differs = np.abs(sampling(**SMALL, sample__output="softmax").images(parameters(), 12).astype(int) - expected)
    assert 0 < differs.mean() < 0.2
    assert differs.max() == 1


def test_interrupted_sampling_resumes(workdir, expected):
    folder, chosen, shares = workdir / "samples", sampling(**SMALL), []

    def stop(share):
        shares.append(share)
        if sum(shares) > 0.8:
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        chosen.write(parameters(), 7, StoredRun(workdir), stop)
    np.testing.assert_array_equal(images(folder / f"{STEM}.npz"), expected[:8])
    parts = []
    files = chosen.write(parameters(), 7, StoredRun(workdir), parts.append)
    assert files == {"samples": folder / f"{STEM}.png", "images": folder / f"{STEM}.npz"}
    assert set(folder.iterdir()) == set(files.values())
    assert sum(parts) == pytest.approx(1.0)
    assert parts[0] == pytest.approx(2 / 3)
    np.testing.assert_array_equal(images(files["images"]), expected)
    # Fewer images are there already; more are added after them.
    before = files["images"].stat().st_mtime_ns
    sampling(**SMALL | {"sample__num": 4}).write(parameters(), 7, StoredRun(workdir), parts.append)
    assert files["images"].stat().st_mtime_ns == before
    sampling(**SMALL | {"sample__num": 15}).write(parameters(), 7, StoredRun(workdir), parts.append)
    more = images(files["images"])
    assert len(more) == 15
    np.testing.assert_array_equal(more[:12], expected)


def test_what_is_no_file_of_these_images_is_replaced(workdir, expected):
    """Images of other parameters, a file that is cut short, and other arrays."""
    chosen = sampling(**SMALL)
    other = jax.tree.map(lambda leaf: np.float32(2) * np.asarray(leaf), parameters())
    path = chosen.write(other, 7, StoredRun(workdir), lambda share: None)["images"]
    assert not np.array_equal(images(path), expected)
    chosen.write(parameters(), 7, StoredRun(workdir), lambda share: None)
    np.testing.assert_array_equal(images(path), expected)
    settings = str(arrays(path)["settings"])
    path.write_bytes(path.read_bytes()[:-40])
    for found in (None, {}, {"images": np.uint8(1)}, {"images": expected[..., 0]}, {"images": expected.astype(float)}):
        if found is not None:
            write_arrays(path, settings=settings, **found)
        chosen.write(parameters(), 7, StoredRun(workdir), lambda share: None)
        np.testing.assert_array_equal(images(path), expected)


def test_images_of_other_software_are_not_added_to(workdir, expected, monkeypatch):
    """But those that are all there stay."""
    path = workdir / "samples" / f"{STEM}.npz"
    sampling(**SMALL | {"sample__num": 8}).write(parameters(), 7, StoredRun(workdir), lambda share: None)
    others = arrays(path) | {"images": 0 * images(path)}  # to be told from those that are drawn here
    monkeypatch.setattr(versions, "package_version", lambda: "another")
    for num, kept in ((8, True), (12, False)):
        write_arrays(path, **others)
        sampling(**SMALL | {"sample__num": num}).write(parameters(), 7, StoredRun(workdir), lambda share: None)
        np.testing.assert_array_equal(images(path), others["images"] if kept else expected)


def test_a_folder_that_cannot_be_written_to_is_refused_before_sampling(workdir):
    (workdir / "samples").write_text("a file")
    parts = []
    with pytest.raises(InputError, match="samples cannot be written to"):
        sampling(**SMALL).write(parameters(), 7, StoredRun(workdir), parts.append)
    assert not parts


def test_a_model_without_a_flow_is_refused():
    changes = {"sample__sampler": "flow", "model__derivative_head": True}
    assert samplers.Sampler.of(subject.run_with("diffenc", **changes)).name == "flow-Bosh3-rtol0.0001-atol0.0001"
    with pytest.raises(InputError, match=r"draw by steps \(sample\.sampler=ancestral\)"):
        samplers.Sampler.of(subject.run_with("diffenc", **changes | {"model__derivative_head": False}))


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
    sampler, request = samplers.Sampler.of(changed), samplers.Request(jax.random.split(jax.random.key(0), 8), labels)
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

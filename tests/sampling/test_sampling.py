"""Images as functions of (seed, number), and their files, which the same command continues after an interruption."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.core import versions
from diffenc_jax.core.errors import InputError, Interrupted
from diffenc_jax.core.streams import gaussian, stream
from diffenc_jax.diffusion.ancestral import ancestral
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.gaussian import alpha
from diffenc_jax.runs.files import read_arrays, write_arrays
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.sampling import samplers
from diffenc_jax.sampling.pictures import picture
from diffenc_jax.sampling.samplers import Sampler
from diffenc_jax.sampling.sampling import Sampling
from tests import tiny
from tests.evaluation import subject

SHAPE, DEPTH = (4, 4, 1), 3
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
            return gaussian(jax.random.fold_in(jax.random.fold_in(stream(0, "sample"), i), place), SHAPE)

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
    assert Sampler.of(subject.run_with("diffenc", **changes)).name == "flow-rtol0.0001-atol0.0001"
    with pytest.raises(InputError, match=r"draw by steps \(sample\.sampler=ancestral\)"):
        Sampler.of(subject.run_with("diffenc", **changes | {"model__derivative_head": False}))

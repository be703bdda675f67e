"""The files of samples: all images and pictures, and after an interruption what the same command continues from."""

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.core.errors import InputError, Interrupted
from diffenc_jax.runs.files import write_arrays
from diffenc_jax.runs.workdir import write_config
from diffenc_jax.sampling.sampling import Sampling
from diffenc_jax.sampling.store import ImageStore
from tests import tiny
from tests.sampling.subject import drawer, experiment, parameters

SMALL = {"sample__num": 12, "sample__batch_size": 4}
STEM = "7-depth3-seed0"


def sampling(**changes):
    return Sampling(experiment(**changes))


@pytest.fixture
def workdir(tmp_path):
    write_config(tmp_path, tiny.config("vdm"))
    return tmp_path


def images(path):
    with np.load(path) as archive:
        return archive["images"]


def contents(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_all_images_and_pictures_are_written(workdir):
    chosen = sampling(**SMALL, sample__path=True, sample__reconstruct=(1.0, 0.4))
    parts = []
    files = chosen.write(parameters(), 7, workdir, parts.append)
    assert {name: path.relative_to(workdir / "samples").as_posix() for name, path in files.items()} == {
        "samples": f"{STEM}.png",
        "images": f"{STEM}.npz",
        "path": f"{STEM}-path.gif",
        "reconstructions": f"{STEM}-from-0.4-1.png",
    }
    assert contents(workdir / "samples").keys() == {path.name for path in files.values()}
    assert sum(parts) == pytest.approx(chosen.num_parts())
    drawn = images(files["images"])
    assert (drawn.dtype, drawn.shape) == (np.uint8, (12, 4, 4, 1))
    np.testing.assert_array_equal(drawn, drawer().images(0, 12, lambda share: None).images)
    np.testing.assert_array_equal(chosen.images(parameters(), 10), drawn[:10])
    with Image.open(files["path"]) as film:
        assert film.n_frames == 4


def test_a_folder_that_cannot_be_written_to_is_refused_before_sampling(workdir):
    (workdir / "samples").write_text("a file")
    parts = []
    with pytest.raises(InputError, match="samples cannot be written to"):
        sampling(**SMALL).write(parameters(), 7, workdir, parts.append)
    assert not parts


def test_interrupted_sampling_resumes(workdir):
    folder, chosen, shares = workdir / "samples", sampling(**SMALL), []

    def stop(share):
        shares.append(share)
        if sum(shares) > 2.5:
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        chosen.write(parameters(), 7, workdir, stop)
    assert contents(folder).keys() == {f"{STEM}.unfinished.npz"}
    first = images(folder / f"{STEM}.unfinished.npz")
    assert len(first) == 8
    parts = []
    chosen.write(parameters(), 7, workdir, parts.append)
    assert parts == [2, *[pytest.approx(1 / 3)] * 3]
    assert contents(folder).keys() == {f"{STEM}.npz", f"{STEM}.png"}
    np.testing.assert_array_equal(images(folder / f"{STEM}.npz"), drawer().images(0, 12, lambda share: None).images)

    # Fewer images are there already; more are added after them.
    before = contents(folder)[f"{STEM}.npz"]
    sampling(**SMALL | {"sample__num": 4}).write(parameters(), 7, workdir, parts.append)
    assert contents(folder)[f"{STEM}.npz"] == before
    assert len(parts) == 5
    sampling(**SMALL | {"sample__num": 15}).write(parameters(), 7, workdir, parts.append)
    more = images(folder / f"{STEM}.npz")
    np.testing.assert_array_equal(more[:8], first)
    assert len(more) == 15


def test_likelihoods_are_written_with_their_images(workdir):
    """They continue as the images do, and are those that the API returns."""
    changes = SMALL | {"sample__sampler": "flow", "sample__likelihood": True, "ode__rtol": 1e-2, "ode__atol": 1e-2}
    chosen = sampling(**changes)
    path = chosen.write(parameters(), 7, workdir, lambda share: None)["images"]
    assert path.name == "7-flow-rtol0.01-atol0.01-hutchinson-seed0.npz"
    sampling(**changes | {"sample__num": 14}).write(parameters(), 7, workdir, lambda share: None)
    drawn = chosen.draw(parameters(), 14)
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["images"], drawn.images)
        for name in ("nats", "bits_per_dim"):
            assert archive[name].shape == (14,)
            np.testing.assert_array_equal(archive[name], getattr(drawn.likelihood, name))
            assert len(np.unique(archive[name])) == 14


def test_images_without_their_likelihoods_are_replaced(tmp_path):
    path, drawn, nats = tmp_path / "drawn.npz", tiny.images(3), np.arange(3.0)
    write_arrays(path, images=drawn, settings="{}")
    for known in (0, 3):
        with ImageStore(path, {}, (4, 4, 1), ("nats",)) as store:
            assert store.count == known
            store.add(drawn, nats=nats)
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["nats"], [*nats, *nats])


def test_images_of_other_settings_are_replaced(tmp_path):
    path, drawn = tmp_path / "drawn.npz", tiny.images(3)
    for settings, known in (({"rtol": 1e-4}, 0), ({"rtol": 1e-4}, 3), ({"rtol": 1e-5}, 0)):
        with ImageStore(path, settings, (4, 4, 1)) as store:
            assert store.count == known
            store.add(drawn)
        assert len(images(path)) == known + 3
    path.write_bytes(path.read_bytes()[:-40])
    with ImageStore(path, {"rtol": 1e-5}, (4, 4, 1)) as store:
        assert store.count == 0
        store.add(drawn)
    np.testing.assert_array_equal(images(path), drawn)


@pytest.mark.parametrize(
    "found", [{}, {"images": np.zeros((3, 4, 4, 1))}, {"images": tiny.images(3)[..., 0]}, {"images": np.asarray("x")}]
)
def test_arrays_that_are_no_images_are_replaced(tmp_path, found):
    path = tmp_path / "drawn.npz"
    write_arrays(path, settings="{}", **found)
    with ImageStore(path, {}, (4, 4, 1)) as store:
        assert store.count == 0
        store.add(tiny.images(2))
    np.testing.assert_array_equal(images(path), tiny.images(2))

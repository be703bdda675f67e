"""What a drawing leaves on disk: all images, and where it is interrupted, what the same command goes on from."""

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.errors import InputError, Interrupted
from diffenc_jax.sampling.store import Store
from diffenc_jax.workdir import claim
from tests import tiny
from tests.sampling import subject as subjects

SMALL = {"sample__num": 12, "sample__batch_size": 4}
STEM = "7-depth3-seed0"


@pytest.fixture(scope="module")
def subject():
    return subjects.subject()


@pytest.fixture
def workdir(tmp_path):
    claim(tmp_path, tiny.config("vdm"))
    return tmp_path


def images(path):
    with np.load(path) as archive:
        return archive["images"]


def contents(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_all_images_and_pictures_are_there(subject, workdir):
    sampling = subject.sampling(**SMALL, sample__path=True, sample__reconstruct=(1.0, 0.4))
    parts = []
    files = sampling.write(subject.params, 7, workdir, parts.append)
    assert {name: path.relative_to(workdir / "samples").as_posix() for name, path in files.items()} == {
        "samples": f"{STEM}.png",
        "images": f"{STEM}.npz",
        "path": f"{STEM}-path.gif",
        "reconstructions": f"{STEM}-from-0.4-1.png",
    }
    assert contents(workdir / "samples").keys() == {path.name for path in files.values()}
    assert sum(parts) == pytest.approx(sampling.work())
    drawn = images(files["images"])
    assert (drawn.dtype, drawn.shape) == (np.uint8, (12, 4, 4, 1))
    np.testing.assert_array_equal(drawn, subject.drawer().images(0, 12, lambda share: None))
    with Image.open(files["path"]) as film:
        assert film.n_frames == 4


def test_a_folder_that_cannot_be_written_to_is_found_before_an_image_is_drawn(subject, workdir):
    (workdir / "samples").write_text("a file")
    parts = []
    with pytest.raises(InputError, match="samples cannot be written to"):
        subject.sampling(**SMALL).write(subject.params, 7, workdir, parts.append)
    assert not parts


def test_interrupted_it_goes_on(subject, workdir):
    folder, sampling, shares = workdir / "samples", subject.sampling(**SMALL), []

    def stop(share):
        shares.append(share)
        if sum(shares) > 2.5:
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        sampling.write(subject.params, 7, workdir, stop)
    assert contents(folder).keys() == {f"{STEM}.unfinished.npz"}
    first = images(folder / f"{STEM}.unfinished.npz")
    assert len(first) == 8
    parts = []
    sampling.write(subject.params, 7, workdir, parts.append)
    assert parts == [2, *[pytest.approx(1 / 3)] * 3]
    assert contents(folder).keys() == {f"{STEM}.npz", f"{STEM}.png"}
    np.testing.assert_array_equal(images(folder / f"{STEM}.npz"), subject.drawer().images(0, 12, lambda share: None))

    # Fewer are in it already; more come after them.
    before = contents(folder)[f"{STEM}.npz"]
    subject.sampling(**SMALL | {"sample__num": 4}).write(subject.params, 7, workdir, parts.append)
    assert contents(folder)[f"{STEM}.npz"] == before
    assert len(parts) == 5
    subject.sampling(**SMALL | {"sample__num": 15}).write(subject.params, 7, workdir, parts.append)
    more = images(folder / f"{STEM}.npz")
    np.testing.assert_array_equal(more[:8], first)
    assert len(more) == 15


def test_images_of_other_settings_are_not_taken_up(tmp_path):
    path, drawn = tmp_path / "drawn.npz", tiny.images(3)
    for settings, known in (({"rtol": 1e-4}, 0), ({"rtol": 1e-4}, 3), ({"rtol": 1e-5}, 0)):
        with Store(path, settings) as store:
            assert store.count == known
            store.add(drawn)
        assert len(images(path)) == known + 3
    path.write_bytes(path.read_bytes()[:-40])
    with Store(path, {"rtol": 1e-5}) as store:
        assert store.count == 0
        store.add(drawn)
    np.testing.assert_array_equal(images(path), drawn)

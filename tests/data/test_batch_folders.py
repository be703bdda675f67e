"""Folders of batches as CIFAR-10 and the downsampled ImageNets are published: whole, in part, and wrong."""

import os
import pickle

import numpy as np
import pytest

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.dataset import image_shape, load_dataset
from diffenc_jax.data.images import LocalPart
from tests.data.traced import traced
from tests.fuzz.fuzz_readers import PYTHON_2, ROWS

SIZE = 4
IMAGES = np.random.RandomState(0).randint(0, 256, (60, SIZE, SIZE, 3)).astype(np.uint8)
TRAIN, TEST = IMAGES[:55], IMAGES[55:]


def rows(images):
    """As they are published: by channel, then row, then column."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def write_pickles(folder, name="train_data_batch_{}", test="val_data", protocol=3, text=str, batches=11):
    for number, part in enumerate(np.split(TRAIN, batches), 1):
        batch = {text("data"): rows(part), text("labels"): list(range(len(part))), text("mean"): part.mean(0)}
        (folder / name.format(number)).write_bytes(pickle.dumps(batch, protocol=protocol))
    (folder / test).write_bytes(pickle.dumps({text("data"): rows(TEST), text("labels"): []}, protocol=protocol))


def write_archives(folder):
    for kind in ("train", "val"):
        (folder / f"Imagenet32_{kind}_npz").mkdir()
    for number, part in enumerate(np.split(TRAIN, 11), 1):
        np.savez(folder / "Imagenet32_train_npz" / f"train_data_batch_{number}.npz", data=rows(part), labels=[0, 1])
    np.savez(folder / "Imagenet32_val_npz" / "val_data.npz", data=rows(TEST), labels=[0, 1])


def read(folder, part=None):
    return load_dataset(DataConfig(str(folder)), "train", "test", part=part).splits


LAYOUTS = {
    "ImageNet, pickled": write_pickles,
    "CIFAR-10, keys in bytes": lambda f: write_pickles(f, "data_batch_{}", "test_batch", 3, str.encode, 5),
    "protocol 2": lambda f: write_pickles(f, protocol=2),
    "protocol 4": lambda f: write_pickles(f, protocol=4),
    "protocol 5": lambda f: write_pickles(f, protocol=5),
    "ImageNet, .npz": write_archives,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reads_what_is_published(tmp_path, layout):
    """In the order of the numbers, 10 after 9."""
    LAYOUTS[layout](tmp_path)
    splits = read(tmp_path)
    np.testing.assert_array_equal(splits["train"], TRAIN, strict=True)
    np.testing.assert_array_equal(splits["test"], TEST, strict=True)
    assert image_shape(DataConfig(str(tmp_path), pixel_levels=17)) == (SIZE, SIZE, 3)


def test_reads_what_python_2_wrote(tmp_path):
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(PYTHON_2)
    np.testing.assert_array_equal(read(tmp_path)["train"], ROWS.reshape(3, 3, 2, 2).transpose(0, 2, 3, 1))


@pytest.mark.parametrize("write", [write_pickles, write_archives])
def test_a_part_is_read(tmp_path, write):
    write(tmp_path)
    wanted = np.array([3, 4, 5, 6, 30, 54])
    train = read(tmp_path, part=lambda count: wanted[wanted < count])["train"]
    assert isinstance(train, LocalPart)
    np.testing.assert_array_equal(train.local, TRAIN[wanted])
    np.testing.assert_array_equal(train[np.array([54, 4])], TRAIN[[54, 4]])


def test_a_part_of_a_pickle_is_all_that_is_in_memory(tmp_path):
    """The long bytes stay in the file: of 12 MB, no more than the 12 kB of ten images are held."""
    images = np.zeros((10_000, 3 * 20 * 20), np.uint8)
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(pickle.dumps({b"data": images[: 10 if name == "test_batch" else None]}, 3))
    read(tmp_path, part=lambda count: np.arange(10))
    with traced() as memory:
        train = read(tmp_path, part=lambda count: np.arange(500, 510))["train"]
    assert train.local.shape == (10, 20, 20, 3)
    assert memory.peak < 1_000_000


def wrong_folders(top):
    """Yields (a folder that is wrong, the file that the message must name, what it must say)."""

    def folder(name, write=write_pickles):
        (top / name).mkdir()
        write(top / name)
        return top / name

    gap = folder("gap")
    (gap / "train_data_batch_3").unlink()
    yield gap, "gap", r"lacks training batch 3; it has \[1, 2, 4"
    no_test = folder("no test")
    (no_test / "val_data").unlink()
    yield no_test, "no test", "holds no batches for test: train_data_batch_1 .. and val_data"
    twice = folder("twice")
    np.savez(twice / "train_data_batch_2.npz", data=rows(TEST))
    yield twice, "train_data_batch_2.npz", "train_data_batch_2 are the same batch; keep one"
    unlike = folder("unlike")
    (unlike / "train_data_batch_4").write_bytes(pickle.dumps({"data": np.zeros((2, 12), np.uint8)}))
    yield unlike, "train_data_batch_4", r"has images of \(2, 2, 3\), but .*train_data_batch_1 of \(4, 4, 3\)"
    hollow = folder("hollow")
    (hollow / "val_data").unlink()
    (hollow / "val_data").mkdir()
    yield hollow, "val_data", "is a folder, where a file should be"
    linked = folder("linked")
    (linked / "val_data").rename(top / "elsewhere")
    (linked / "val_data").symlink_to(top / "elsewhere")
    yield linked, "val_data", "leads out of the folder by a link"
    archives = folder("archives", write_archives)
    (archives / "Imagenet32_val_npz").rename(top / "val")
    (archives / "Imagenet32_val_npz").symlink_to(top / "val")
    yield archives, "val_data.npz", "leads out of the folder by a link"
    nameless = folder("nameless", write_archives)
    np.savez(nameless / "Imagenet32_val_npz" / "val_data.npz", images=rows(TEST))
    yield nameless, "val_data.npz", "holds no array 'data'"
    floats = folder("floats", write_archives)
    np.savez(floats / "Imagenet32_val_npz" / "val_data.npz", data=rows(TEST) / 255)
    yield floats, "val_data.npz", "must hold uint8, values 0 .. 255; data is float64"


def test_what_is_wrong_is_named_in_one_line(tmp_path):
    for folder, name, message in wrong_folders(tmp_path):
        with pytest.raises(InputError, match=message) as caught:
            read(folder)
        assert "\n" not in str(caught.value)
        assert str(caught.value).split(" ")[0].endswith(name.split(" ")[0]) or name in str(caught.value)


class Calls:
    """Pickled, a program that makes a folder."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


def test_nothing_in_a_pickle_is_run(tmp_path):
    write_pickles(tmp_path)
    for protocol in (2, 3, 4, 5):
        batch = {"data": rows(TEST), "labels": Calls(tmp_path / "made")}
        (tmp_path / "val_data").write_bytes(pickle.dumps(batch, protocol))
        with pytest.raises(InputError, match=r"val_data cannot be read .* it names posix.mkdir, which no image needs"):
            read(tmp_path)
    assert not (tmp_path / "made").exists()


GLOBAL = b"\x80\x02c%s\n%s\n."
NOT_BATCHES = {
    "it is not a pickle of protocol 2 or later": pickle.dumps({"data": rows(TEST)}, protocol=0),
    "it is not a pickle": b"",
    "it names os.system": GLOBAL % (b"os", b"system"),
    "it names builtins.eval": GLOBAL % (b"builtins", b"eval"),
    "it names numpy.ndarray.tofile": GLOBAL % (b"numpy", b"ndarray.tofile"),
    "it names numpy.load": GLOBAL % (b"numpy", b"load"),
    "it names numpy.core.multiarray.fromfile": GLOBAL % (b"numpy.core.multiarray", b"fromfile"),
    r"it names a\nb.c": b"\x80\x04\x8c\x03a\nb\x8c\x01c\x93.",
    "it is cut short": pickle.dumps({"data": rows(TEST)}, protocol=2)[:-20],
    "it has an instruction that batches of images do not need": b"\x80\x04\x8f.",
    "it is damaged (IndexError)": b"\x80\x02..",
    "it is damaged (TypeError)": b"\x80\x02K\x01)R.",
    "it is not a dict with 'data'": pickle.dumps([1]),
    "it has no 'data'; it has ['image']": pickle.dumps({"image": rows(TEST)}),
    "'data' is not a numpy array": pickle.dumps({"data": b"1234"}),
    "'data' must be uint8 (u1), values 0 .. 255; it is f8": pickle.dumps({"data": rows(TEST) / 255}),
    "it is O8": pickle.dumps({"data": np.array([None, 1])}),
    "has no images": pickle.dumps({"data": rows(TEST)[:0]}),
    "must hold 'data' [N, 3 S S], square images in three colours; it is (5, 47)": pickle.dumps(
        {"data": np.ascontiguousarray(rows(TEST)[:, :47])}
    ),
    "it is (5, 4, 4, 3)": pickle.dumps({"data": TEST}),
    "does not have the 49 bytes of its shape": PYTHON_2.replace(b"K\x03K\x0c\x86", b"K\x07K\x07\x86"),
    "it has a dict with keys that are not strings": b"\x80\x02})" + b"\x85" * 8000 + b"K\x01s.",
    "it has more and smaller parts": b"\x80\x02" + b"}" * 1_000_000,
    "it has more and smaller parts ": b"\x80\x04\x95" + (10**6).to_bytes(8, "little") + b"}" * 10**6,
    # Of these, each says that it goes on for ever, or asks for a place as far away.
    "BINBYTES8 exceeds system's maximum size": b"\x80\x04\x8e" + b"\xff" * 8,
    "cut short  ": b"\x80\x05\x96" + b"\x00\x00\x00\x00\x00\x04\x00\x00",
    "cut short   ": b"\x80\x02\x8b\xff\xff\xff\x7f",
    "it is not a dict with": b"\x80\x02K\x01r\xff\xff\xff\xff.",
}


@pytest.mark.parametrize("message", NOT_BATCHES)
def test_pickles_that_are_no_batches_are_refused_in_little_memory(tmp_path, message):
    write_pickles(tmp_path)
    (tmp_path / "val_data").write_bytes(NOT_BATCHES[message])
    with traced() as memory, pytest.raises(InputError) as caught:
        read(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'val_data'} ")
    assert message.strip() in said
    assert "\n" not in said
    assert len(said) < 400
    assert memory.peak < 16_000_000

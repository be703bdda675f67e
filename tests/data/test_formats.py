"""Users' files in every format: each image comes back with its own class, and what is wrong is named in one line."""

import gzip
import os
import re
import struct
import warnings
import zipfile
import zlib
from contextlib import suppress
from operator import attrgetter

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core import runtime
from diffenc_jax.core.errors import InputError
from diffenc_jax.data import checks
from diffenc_jax.data.dataset import HELD_OUT, load_dataset
from diffenc_jax.data.images import LabelSpec, LocalPart
from diffenc_jax.data.sources import all_images, named_source
from tests.data import files
from tests.data.files import COUNT, GREY, IMAGES, STORED, idx_bytes, npy_bytes, npy_header, zip_bytes

CLASSES = np.searchsorted([3, 5, 9], STORED)
CLASS_OF = {image.tobytes(): of for images in (IMAGES, GREY) for image, of in zip(images, CLASSES, strict=True)}


def read(path, **options):
    return load_dataset(DataConfig(str(path)), "train", "test", **options)


@pytest.mark.parametrize("kind", files.WRITERS)
def test_every_image_has_its_own_class(tmp_path, kind):
    path = files.WRITERS[kind](tmp_path)
    data = DataConfig(str(path))
    dataset, images = read(path, labels=True), GREY[..., None] if "idx" in kind else IMAGES
    splits = [dataset.split(name) for name in files.SPLITS]
    assert named_source(data).spec(data, has_labels=True) == dataset.spec
    assert dataset.spec.label_spec == LabelSpec(3)
    assert sorted(i.tobytes() for split in splits for i in split.data) == sorted(i.tobytes() for i in images)
    for split in splits:
        assert split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.labels, [CLASS_OF[image.tobytes()] for image in split.data])
        if kind in files.WITH_SPLITS:
            assert len(split.labels) == len(IMAGES[files.SPLITS[split.name]])
    if kind in files.WITH_SPLITS and "pictures" not in kind:
        np.testing.assert_array_equal(dataset.split("train").data, images[files.SPLITS["train"]])
    alone = load_dataset(data, "test", labels=True)  # of which not every class need be there
    assert (alone.spec.label_spec, alone.split("test").fingerprint) == (LabelSpec(3), dataset.split("test").fingerprint)
    assert load_dataset(data, "test").split("test").labels is None


@pytest.mark.parametrize("kind", ["npz", "one npz", "idx", "pictures"])
def test_a_part_is_read(tmp_path, kind):
    path, wanted = files.WRITERS[kind](tmp_path), np.array([3, 4, 5, 11, 17])
    whole, part = (read(path, labels=True, part=chosen) for chosen in (None, lambda count: wanted))
    for of in map(attrgetter, ("data", "labels")):
        theirs, ours = (of(dataset.split("train")) for dataset in (whole, part))
        assert isinstance(ours, LocalPart)
        np.testing.assert_array_equal(ours.local, theirs[wanted])
        np.testing.assert_array_equal(ours[wanted[::-1]], theirs[wanted[::-1]])
        np.testing.assert_array_equal(of(part.split("test")), of(whole.split("test")))


@pytest.mark.parametrize("dtype", [bool, np.int64, ">u2", np.float16, np.float32])
def test_whole_numbers_of_any_type_are_taken_as_they_are(tmp_path, dtype):
    images = IMAGES % 2 if dtype is bool else IMAGES
    np.save(tmp_path / "a.npy", images.astype(dtype))
    np.savez(tmp_path / "a.npz", images.astype(dtype))
    for file in ("a.npy", "a.npz"):
        np.testing.assert_array_equal(all_images(tmp_path / file), images)


def test_a_tenth_is_held_out(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    dataset = read(tmp_path / "a.npy")
    splits = {name: dataset.split(name).data for name in ("train", "test")}
    assert len(splits["test"]) == COUNT // 10
    assert len({image.tobytes() for images in splits.values() for image in images}) == COUNT
    np.save(tmp_path / "one.npy", IMAGES[:1])
    with pytest.raises(InputError, match=rf"\(train\): this split has no images; give at least two, {HELD_OUT}"):
        read(tmp_path / "one.npy")


def test_pictures_of_several_sizes_are_cropped_and_resized(tmp_path):
    """The largest square in the middle is kept, and what is finer than the new pixels is averaged, not sampled."""
    checkerboard = (np.indices((16, 16)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for i, (height, width) in enumerate([(16, 16), (16, 40), (30, 16)] * 4):
        picture = np.full((height, width), 255, np.uint8)
        top, left = (height - 16) // 2, (width - 16) // 2
        picture[top : top + 16, left : left + 16] = checkerboard
        Image.fromarray(picture).save(tmp_path / f"{i:02}.png")
    dataset = load_dataset(DataConfig(str(tmp_path), resize=4), "train", "test")
    assert dataset.split("train").fingerprint["version"] == "local, resized to 4x4"
    for images in (dataset.split(split).data for split in ("train", "test")):
        assert np.abs(images.astype(int) - 127.5).max() <= 1
    data = DataConfig(str(tmp_path), resize=8)
    assert named_source(data).spec(data).shape == (8, 8, 1)


def palette(**options):
    image = Image.fromarray(IMAGES[1] // 100 * 100).quantize(27)
    image.info.update(options)
    return image


def rgba(alpha):
    return Image.fromarray(np.concatenate([IMAGES[1], np.full((4, 4, 1), alpha, np.uint8)], -1))


PICTURES = [
    (rgba(255), IMAGES[1]),
    (palette(), np.asarray(palette().convert("RGB"))),
    (Image.fromarray(IMAGES[1, ..., 0] > 99), np.where(IMAGES[1, ..., :1] > 99, 255, 0)),
]


@pytest.mark.parametrize(("image", "expected"), PICTURES, ids=["opaque", "palette", "black and white"])
def test_pictures_without_a_loss_are_right(tmp_path, image, expected):
    for name in "abc":
        image.save(tmp_path / f"{name}.png")
    for images in (read(tmp_path).split("train").data, all_images(tmp_path)):
        np.testing.assert_array_equal(images[0], expected)


LARGE = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 64) + bytes(99)


WHOLE_NUMBERS = [
    np.arange(-128, 128, dtype=np.int8),
    np.arange(45, 301, dtype=np.uint16),
    np.arange(0, 4081, 16, dtype=np.uint16),
    np.arange(-32768, 32768, dtype=np.int16),
    np.arange(65536, dtype=np.uint16),
    np.array([2**63, 2**64 - 1], np.uint64),
]


@pytest.mark.parametrize("array", WHOLE_NUMBERS, ids=["bytes", "shifted", "12 bits", "signed", "16 bits", "64 bits"])
def test_advice_about_whole_numbers_loses_nothing(array, tmp_path):
    """It gives whole numbers from 0 that fit into the bytes it names, and into no fewer."""
    np.save(tmp_path / "a.npy", array.reshape(1, 1, -1))
    with pytest.raises(InputError) as caught:
        np.asarray(all_images(tmp_path / "a.npy")[:])
    advice = re.search(r"; subtract (-?\d+), and save (?:them|the (\d) bytes of each value) as", str(caught.value))
    least, count = advice.groups()
    values, size = [value - int(least) for value in array.tolist()], int(count or 1)
    assert min(values) == 0
    assert 256 ** (size - 1) <= max(values) < 256**size


# Contents of a single file by its name and the refusal, which begins with the file's name.
WRONG = [
    ("a.npy", npy_header((4, 6, 5, 3)) + bytes(9), "cannot be read: mmap length is greater than file size; copy"),
    ("a.npy", npy_header((2**40, 2**40, 3)) + bytes(100), "cannot be read: "),
    ("a.npy", npy_header((4, 4, 4), "|O") + bytes(512), "cannot be read: "),
    ("a.npy", npy_bytes(IMAGES / 255), "undo that, as by np.round(array * N).astype(np.uint8)"),
    ("a.npy", npy_bytes(IMAGES - 9.5), "take a configuration of real numbers, --config=arrays"),
    ("a.npy", npy_bytes(np.where(IMAGES > 254, np.nan, IMAGES)), "take a configuration of real numbers, --config=arr"),
    ("a.npy", npy_bytes(IMAGES * np.uint16(257)), "or add noise that is uniform over 0 .. 1, and take --config="),
    ("a.npy", npy_bytes(IMAGES.astype(int) - 1), "subtract -1, and save them as uint8, which loses nothing"),
    ("a.npy", npy_bytes(IMAGES * 1j), "must hold whole numbers, 0 .. 255; this is complex128"),
    ("a.npy", npy_bytes(IMAGES.reshape(30, -1)), "must hold images [N, H, W, C] or [N, H, W]; this is [30, 48]"),
    ("a.npy", npy_bytes(np.zeros((9, 3, 6, 10), np.uint8)), "[9, 3, 6, 10], like [N, C, H, W]; save array.transpose("),
    ("a.npy", b"", "is no .npy file; copy or make it again"),
    ("a.npy", gzip.compress(npy_bytes(IMAGES)), "is gzipped, which only IDX files may be; gunzip it"),
    ("a.npy.gz", gzip.compress(npy_bytes(IMAGES)), "is gzipped, which only IDX files may be; gunzip it"),
    ("a.npz", zip_bytes({"a.npy": npy_bytes(IMAGES)})[:-9], "cannot be read: File is not a zip file; copy or make"),
    ("a.npz", zip_bytes({"a.npy": npy_header((4, 6, 5, 3)) + bytes(9)}), "cannot be read: EOF: reading array"),
    ("a.npz", zip_bytes({"a.npy": npy_bytes(IMAGES)}).replace(IMAGES.tobytes(), IMAGES[::-1].tobytes()), "Bad CRC-32"),
    ("a.npz", zip_bytes({"b.npy": npy_bytes(np.zeros(3))}), "or one array of data; it holds: none"),
    ("a.npz", zip_bytes({"a\n.npy": npy_bytes(IMAGES), "b.npy": npy_bytes(IMAGES)}), r"it holds: a\n, b"),
    ("a.npz", zip_bytes({"a.npy": npy_header((2**30, 2**30, 3))}), "GB of memory, but this machine has"),
    ("a.npz", zip_bytes({"a": b"x", "a.npy": npy_bytes(IMAGES / 255)}), "float64 from 0 to 1, but pixels are"),
    ("a.npz", zip_bytes(dict.fromkeys(["a" * 999 + ".npy", "b.npy"], npy_bytes(IMAGES))), "it holds: aaa"),
    ("a.npz", b"hello", "is no .npz file; copy or make it again"),
    ("a", idx_bytes(GREY) + b"1", "cannot be read: cannot reshape array of size 481 into shape (30,4,4); copy or make"),
    ("a", idx_bytes(GREY)[:3] + b"\x05", "cannot be read: buffer is smaller"),
    ("a", LARGE, "GB of memory, but this machine has"),
    ("a", gzip.compress(LARGE), "GB of memory, but this machine has"),
    ("a", gzip.compress(idx_bytes(GREY))[:-1], "ended before the end-of-stream marker was reached; copy or make"),
    ("a", idx_bytes(GREY[:0]), "must hold images [N, H, W, C] or [N, H, W]; this is [0, 4, 4]"),
    ("a", bytes([0, 0, 13, 3]) + struct.pack(">3I", 1, 1, 1) + bytes(4), "is not a .npy, .npz or IDX file of uint8"),
]


@pytest.mark.parametrize(("name", "content", "message"), WRONG, ids=range(len(WRONG)))
def test_damaged_and_unsuitable_files_are_named_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught, warnings.catch_warnings(record=True, action="always") as warned:
        read(tmp_path / name)
    said = str(caught.value)
    assert not warned
    assert said.startswith(f"{tmp_path / name} ")
    assert message in said
    assert not ("astype" in said and "real numbers" in said)
    assert said.isprintable()
    assert len(said) < 500


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a", "a.gz", "b.png"])
def test_random_damage_is_one_line_or_harmless(tmp_path, name):
    """A file of which bytes are changed or missing is read, or refused in one line."""
    whole = {
        "a.npy": npy_bytes(IMAGES),
        "a.npz": zip_bytes({"a.npy": npy_bytes(IMAGES)}, zipfile.ZIP_DEFLATED),
        "a": idx_bytes(GREY),
        "a.gz": gzip.compress(idx_bytes(GREY)),
        "b.png": (files.write_pictures(tmp_path / "p", (".", ".")) / "no 3").glob("*").__next__().read_bytes(),
    }[name]
    folder = tmp_path / "pictures"
    folder.mkdir()
    path, rng = folder / name, np.random.RandomState(0)
    for _ in range(60):
        content = bytearray(whole)
        for at in rng.randint(0, min(len(content), 200), rng.randint(1, 4)):
            content[at] = rng.randint(256)
        path.write_bytes(content[: len(content) - rng.randint(0, 2) * rng.randint(1, 40)])
        with suppress(InputError):
            read(folder if name == "b.png" else path)


def folder_of(folder, **pictures):
    """A folder of a plain picture a.png and of others, by their names before '.png'."""
    folder.mkdir()
    Image.fromarray(IMAGES[0]).save(folder / "a.png")
    for name, image in pictures.items():
        image.save(folder / f"{name}.png")
    return folder


def png_of_16_bits():
    """16 bits per colour, which Pillow reads but cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head, rows = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0), zlib.compress((b"\0" + bytes(4 * 3 * 2)) * 4)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def wrong_folders(top):
    """Writes folders; yields (path, what the message must say)."""
    colour, grey = Image.fromarray(IMAGES[1]), Image.fromarray(GREY[1])
    yield folder_of(top / "grey", b=grey), "b.png is (4, 4, 1), but the first picture is (4, 4, 3); save all as grey or"
    small = Image.fromarray(IMAGES[1, :3])
    yield folder_of(top / "sizes", b=small), "b.png is (3, 4, 3), but the first picture is (4, 4, 3); give --config"
    yield folder_of(top / "see-through", b=rgba(128)), "b.png cannot be read: it is transparent in places; put it onto"
    yield folder_of(top / "clear", b=palette(transparency=0)), "it is transparent in places"
    deep = Image.fromarray(GREY[1].astype(np.uint16))
    yield folder_of(top / "deep", b=deep), "its pixels are I;16 or of 16 bits; save it as grey or"
    (folder_of(top / "deeper") / "b.png").write_bytes(png_of_16_bits())
    yield top / "deeper", "its pixels are RGB or of 16 bits"
    for name, content in (("empty", b""), ("text", b"hello"), ("program", b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n")):
        (folder_of(top / name) / "b.png").write_bytes(content)
        yield top / name, "b.png cannot be read: cannot identify image file"
    os.mkfifo(folder_of(top / "pipe") / "b.png")
    yield top / "pipe", "b.png is no regular file"
    (folder_of(top / "nowhere") / "b.png").symlink_to(top / "absent")
    yield top / "nowhere", "b.png does not exist"
    (folder_of(top / "below") / "more").symlink_to(top / "text")
    yield top / "below", "more is a link to a folder; put the folder itself there"
    Image.new("1", (16_000, 16_000)).save(folder_of(top / "bomb") / "a.png")
    yield top / "bomb", "could be decompression bomb"
    (folder_of(top / "name") / "a\n\x1b[31mb\udcff.png").write_text("hello")
    yield top / "name", r"a\n\x1b[31mb\udcff.png cannot be read"
    (top / "nothing").mkdir()
    yield top / "nothing", "holds no pictures (.png, "
    folder_of(folder_of(top / "validation") / "train", b=colour)
    folder_of(top / "validation" / "val", b=colour)
    yield top / "validation", "has a folder train but no test; rename one of val"
    (files.write_idx(folder_of(top / "half")) / "t10k-images-idx3-ubyte").unlink()
    yield top / "half", "must hold both train-images"
    np.savez(top / "unlike.npz", train=IMAGES, test=GREY)
    yield top / "unlike.npz", "the splits differ in shape"
    for source in ("absent.npy", "a" * 5000, "gs:/bucket"):
        yield top / source, "nor a path that can be read"


def test_damaged_and_unsuitable_folders_are_named_in_one_line(tmp_path):
    for path, message in wrong_folders(tmp_path):
        with pytest.raises(InputError) as caught:
            read(path)
        said = str(caught.value)
        assert message in said
        assert said.isprintable()
        assert str(path)[:50] in said


def wrong_labels(folder):
    """Sets whose images are right and whose labels are not; yields (path, what the message must say)."""

    def new(name):
        (folder / name).mkdir()
        return folder / name

    np.save(folder / "none.npy", IMAGES)
    yield folder / "none.npy", "has no labels, which model.labels=True needs"
    yield files.write_npz(new("few"), labels=np.stack([STORED] * 2)), "must hold labels: whole numbers [N]"
    unknown = np.where(np.arange(COUNT) == 29, 7, STORED)
    yield files.write_npz(new("unknown"), labels=unknown), "(test): the label 7 is not among the 3 of the training"
    np.savez(new("short") / "a.npz", x_train=IMAGES, x_test=IMAGES, y_train=STORED, y_test=STORED[:4])
    yield folder / "short" / "a.npz", "(test): there are 4 labels for 30 images; give one per image"
    (files.write_idx(new("idx")) / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(GREY[:10]))
    yield folder / "idx", "t10k-labels-idx1-ubyte must hold labels: whole numbers [N]"
    Image.fromarray(IMAGES[0]).save(files.write_pictures(new("flat")) / "train" / "stray.png")
    yield folder / "flat", "has no labels"


def test_wrong_labels_are_refused_where_they_are_read(tmp_path):
    for path, message in wrong_labels(tmp_path):
        read(path)
        with pytest.raises(InputError) as caught:
            read(path, labels=True)
        assert message in str(caught.value)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, to whom files are closed")
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a", "b.png"])
def test_files_without_permission_are_named(tmp_path_factory, name):
    top = tmp_path_factory.mktemp("closed")
    for parent in (top, *top.parents[:3]):
        parent.chmod(0o755)
    path = top / ("pictures" if name == "b.png" else "") / name
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0)
    os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"cannot be read: Permission denied; change its permissions$") as caught:
            read(path.parent if name == "b.png" else path)
    finally:
        os.seteuid(0)
    assert str(caught.value).startswith(f"{path} ")


def test_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((2000, 32, 32), np.uint8))
    monkeypatch.setattr(checks, "machine_memory", lambda: 2**20)
    with pytest.raises(InputError, match=r"would take 0.00184 GB of memory, but this machine has 0.00105 GB"):
        read(tmp_path / "a.npy")


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "CONTAINER_LIMIT", tmp_path / "max")
    physical = checks.machine_memory()
    assert 2**28 < physical < 2**50
    for limit, expected in (("1000000\n", 1_000_000), ("max\n", physical)):
        (tmp_path / "max").write_text(limit)
        assert checks.machine_memory() == expected


UNSUITABLE = [
    (dict(source="cifar"), "train", r"'cifar' is neither a known data set \(cifar10, digits, fashion_mnist"),
    (dict(source="digits", pixel_levels=16), "test", "the value 16, but data.pixel_levels=16 allows 0 .. 15"),
    (dict(source="digits"), "validation", "digits has no split 'validation'; it has train, test"),
    (dict(source="digits", resize=4), "train", "data.resize=4 is for folders of pictures and for tensorfl"),
    (dict(source="a.npy", resize=4), "train", "a.npy is not a folder of pictures, which data.resize=4 needs"),
]


@pytest.mark.parametrize(("data", "split", "message"), UNSUITABLE)
def test_configurations_that_do_not_suit_the_data(data, split, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", IMAGES)
    with pytest.raises(InputError, match=message):
        load_dataset(DataConfig(**data), split)

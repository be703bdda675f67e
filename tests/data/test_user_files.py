"""Users' files: what is written comes back, and what is wrong is named."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.data import checks
from diffenc_jax.data.dataset import image_shape, load_dataset

IMAGES = np.random.RandomState(0).randint(0, 256, (30, 6, 5, 3)).astype(np.uint8)
GREY = IMAGES[..., :1]


def idx(images):
    """IDX bytes of uint8 [N, H, W]."""
    return bytes([0, 0, 8, images.ndim]) + struct.pack(f">{images.ndim}I", *images.shape) + images.tobytes()


def read(path, levels=256):
    return load_dataset(DataConfig(str(path), pixel_levels=levels), "train", "test")


def assert_holds_out_a_tenth(dataset, images):
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert len(test) == len(images) // 10
    rows = {image.tobytes() for image in images}
    assert {image.tobytes() for image in np.concatenate([train, test])} == rows
    assert len(train) + len(test) == len(rows)


def test_npy(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    assert_holds_out_a_tenth(read(tmp_path / "a.npy"), IMAGES)
    np.save(tmp_path / "grey.npy", GREY[..., 0])
    assert read(tmp_path / "grey.npy").shape == (6, 5, 1)


@pytest.mark.parametrize("names", [("train", "test"), ("x_train", "x_test")])
def test_npz_with_splits(tmp_path, names):
    arrays = dict(zip(names, (IMAGES[:20], IMAGES[20:]), strict=True))
    np.savez(tmp_path / "a.npz", y_train=np.zeros(20), **arrays)
    dataset = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.splits["train"], IMAGES[:20])
    np.testing.assert_array_equal(dataset.splits["test"], IMAGES[20:])


def test_arrays_whose_last_axis_may_be_the_width():
    for shape in ((6000, 5, 3), (50, 3, 3), (4, 30, 1), (20, 3, 4, 4), (20, 3, 40, 3)):
        checks.are_images(Path("a.npy"), shape, np.dtype(np.uint8))


def checkerboard(height, width):
    """Grey picture of squares of one pixel, black and white."""
    return (np.indices((height, width)).sum(axis=0) % 2 * 255).astype(np.uint8)


def test_pictures_of_several_sizes_are_cropped_and_resized(tmp_path):
    """The largest square in the middle is kept, and what is finer than the new pixels is averaged, not sampled."""
    for i, (height, width) in enumerate([(16, 16), (16, 40), (30, 16)] * 4):
        picture = np.full((height, width), 255, np.uint8)
        top, left = (height - 16) // 2, (width - 16) // 2
        picture[top : top + 16, left : left + 16] = checkerboard(16, 16)
        Image.fromarray(picture).save(tmp_path / f"{i:02}.png")
    dataset = load_dataset(DataConfig(str(tmp_path), resize=4), "train", "test")
    assert dataset.fingerprint("train")["version"] == "local, resized to 4x4"
    for images in dataset.splits.values():
        assert np.abs(images.astype(int) - 127.5).max() <= 1
    assert image_shape(DataConfig(str(tmp_path), resize=8)) == (8, 8, 1)


def test_only_folders_of_pictures_are_resized(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    for source, message in ((tmp_path / "a.npy", "is no folder of pictures"), ("digits", "is for folders of pictures")):
        with pytest.raises(InputError, match=message):
            load_dataset(DataConfig(str(source), resize=4), "train")
    with pytest.raises(InputError, match=r"data.resize must lie in 1 .. 4096"):
        DataConfig("a", resize=0)


def test_fingerprint_is_of_the_images():
    dataset = load_dataset(DataConfig("digits", pixel_levels=17), "test")
    import hashlib

    from sklearn.datasets import load_digits

    order = np.random.RandomState(0).permutation(1797)
    pixels = load_digits().images.astype(np.uint8)[order[1500:]]
    assert dataset.sha256("test") == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert dataset.splits["test"].shape == (297, 8, 8, 1)


def wrong_files(folder):
    """Writes bad inputs; yields (path, what the message must say)."""
    (folder / "empty.npy").touch()
    yield folder / "empty.npy", "cannot be read as a .npy array"
    (folder / "empty.npz").touch()
    yield folder / "empty.npz", "cannot be read as a .npz archive"
    np.save(folder / "float.npy", IMAGES / 255.0)
    yield folder / "float.npy", "must hold uint8, values 0 .. 255; this is float64"
    np.save(folder / "flat.npy", IMAGES.reshape(30, -1))
    yield folder / "flat.npy", r"must hold images \[N, H, W, C\] or \[N, H, W\]; this is \[30, 90\]"
    one = np.zeros((32, 24, 3), np.uint8)
    np.save(folder / "one.npy", one)
    yield folder / "one.npy", r"this is \[32, 24, 3\], like one image \[H, W, C\]: put all images into one array"
    np.savez(folder / "channels.npz", IMAGES.repeat(2, axis=2).transpose(0, 3, 1, 2))
    yield folder / "channels.npz", r"\[30, 3, 6, 10\], like \[N, C, H, W\]: save array.transpose\(0, 2, 3, 1\)"
    np.savez(folder / "three.npz", a=IMAGES, b=IMAGES, c=IMAGES)
    yield folder / "three.npz", r"must hold 'train' and 'test', or one array of images; its images: a, b, c$"
    np.savez(folder / "unlike.npz", train=IMAGES, test=GREY)
    yield folder / "unlike.npz", "the splits' images differ in shape"
    (folder / "text").write_text("hello")
    yield folder / "text", "is not a .npy, .npz or IDX file"
    (folder / "empty").touch()
    yield folder / "empty", "is not a .npy, .npz or IDX file"
    (folder / "nothing").mkdir()
    yield folder / "nothing", "holds no pictures"
    (folder / "half").mkdir()
    (folder / "half" / "train-images-idx3-ubyte").write_bytes(idx(GREY[..., 0]))
    yield folder / "half", "must hold both train-images"
    (folder / "mixed").mkdir()
    Image.fromarray(IMAGES[0]).save(folder / "mixed" / "a.png")
    Image.fromarray(IMAGES[0][:3]).save(folder / "mixed" / "b.png")
    yield folder / "mixed", r"b.png is \(3, 5, 3\), but the first picture is \(6, 5, 3\); give --config.data.resize=32"
    (folder / "colours").mkdir()
    Image.fromarray(IMAGES[0]).save(folder / "colours" / "a.png")
    Image.fromarray(GREY[0, ..., 0]).save(folder / "colours" / "b.png")
    yield folder / "colours", r"b.png is \(6, 5, 1\), .* \(6, 5, 3\); save all as grey or all as RGB"
    for split in ("train", "val"):
        (folder / "validation" / split).mkdir(parents=True)
        Image.fromarray(IMAGES[0]).save(folder / "validation" / split / "a.png")
    yield folder / "validation", "has folders train and val, but no test; rename val to test"
    (folder / "broken").mkdir()
    (folder / "broken" / "a.png").write_bytes((folder / "mixed" / "a.png").read_bytes()[:60])
    yield folder / "broken", "a.png cannot be read as a picture"
    yield folder / "absent.npy", "neither a known data set .* nor a path that can be read"


def test_what_is_wrong_is_named_in_one_line(tmp_path):
    for path, message in wrong_files(tmp_path):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)


def test_values_above_the_levels(tmp_path):
    np.save(tmp_path / "a.npy", np.full((20, 4, 4, 1), 17, np.uint8))
    with pytest.raises(InputError, match=r"the value 17, but data.pixel_levels=17 allows 0 .. 16"):
        read(tmp_path / "a.npy", levels=17)


def test_an_unknown_split():
    with pytest.raises(InputError, match="digits has no split 'validation'; it has train, test"):
        load_dataset(DataConfig("digits", pixel_levels=17), "validation")

"""Labels of every source: in the order of the images, as classes from 0, and what is wrong is named."""

import gzip
import pickle

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.dataset import load_dataset, load_labels, num_classes
from diffenc_jax.data.images import LocalPart
from tests.fuzz.fuzz_readers import idx_bytes
from tests.registered import SOURCES

COUNT, TEST = 30, 10
IMAGES = np.random.RandomState(0).randint(0, 256, (COUNT, 4, 4, 3)).astype(np.uint8)
GREY = IMAGES[..., 0]
# Labels as they are in files, of which 3, 5 and 9 are the classes 0, 1 and 2.
STORED = np.array([3, 5, 9])[np.random.RandomState(1).randint(0, 3, COUNT)]
CLASSES = np.searchsorted([3, 5, 9], STORED)
SPLITS = {"train": slice(0, COUNT - TEST), "test": slice(COUNT - TEST, COUNT)}


def write_npz(folder, names=("x_{}", "y_{}"), labels=STORED):
    arrays = {names[0].format(split): IMAGES[rows] for split, rows in SPLITS.items()}
    np.savez(folder / "a.npz", **arrays, **{names[1].format(split): labels[rows] for split, rows in SPLITS.items()})
    return folder / "a.npz"


def write_one_npz(folder):
    np.savez(folder / "a.npz", images=IMAGES, labels=STORED)
    return folder / "a.npz"


def write_idx(folder, ending=""):
    pack = gzip.compress if ending else bytes
    for split, prefix in (("train", "train"), ("test", "t10k")):
        rows = SPLITS[split]
        (folder / f"{prefix}-images-idx3-ubyte{ending}").write_bytes(pack(idx_bytes(GREY[rows])))
        (folder / f"{prefix}-labels-idx1-ubyte{ending}").write_bytes(pack(idx_bytes(STORED[rows].astype(np.uint8))))
    return folder


def write_one_idx(folder):
    (folder / "my-images-idx3-ubyte").write_bytes(idx_bytes(GREY))
    (folder / "my-labels-idx1-ubyte").write_bytes(idx_bytes(STORED.astype(np.uint8)))
    return folder / "my-images-idx3-ubyte"


def write_batches(folder, split_labels=STORED, archive=False):
    for name, rows in (("data_batch_1", slice(0, 8)), ("data_batch_2", slice(8, 20)), ("test_batch", slice(20, 30))):
        data = np.ascontiguousarray(IMAGES[rows].transpose(0, 3, 1, 2)).reshape(-1, 48)
        labels = split_labels[rows].tolist()
        if archive:
            np.savez(folder / f"{name}.npz", data=data, labels=labels)
        else:
            (folder / name).write_bytes(pickle.dumps({b"data": data, b"labels": labels}))
    return folder


def write_pictures(folder, splits=("train", "test")):
    """Folders whose sorted names are 'no 3', 'no 5' and 'no 9'; the number in a file's name tells the image."""
    for number, (image, label) in enumerate(zip(IMAGES, STORED, strict=True)):
        split = splits[number >= COUNT - TEST]
        (folder / split / f"no {label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / split / f"no {label}" / f"{number:02}.png")
    return folder


WRITERS = {
    "npz": write_npz,
    "npz of train_labels": lambda f: write_npz(f, ("{}", "{}_labels")),
    "npz of keras": lambda f: write_npz(f, labels=STORED[:, None].astype(np.uint8)),
    "one npz": write_one_npz,
    "idx": write_idx,
    "gzipped idx": lambda f: write_idx(f, ".gz"),
    "one idx": write_one_idx,
    "pickles": write_batches,
    "archives": lambda f: write_batches(f, archive=True),
    "pictures": write_pictures,
    "pictures without splits": lambda f: write_pictures(f, (".", ".")),
}
# Classes by image, in colour and in grey.
CLASS_OF = {image.tobytes(): of for images in (IMAGES, GREY) for image, of in zip(images, CLASSES, strict=True)}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_image_has_its_own_class(tmp_path, kind):
    path = WRITERS[kind](tmp_path)
    data = DataConfig(str(path))
    dataset = load_dataset(data, "train", "test", labels=True)
    assert dataset.num_classes == num_classes(data) == 3
    assert sum(len(labels) for labels in dataset.labels.values()) == COUNT
    for split, labels in dataset.labels.items():
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, [CLASS_OF[image.tobytes()] for image in dataset.splits[split]])
        np.testing.assert_array_equal(load_labels(data, split), labels)
    assert not load_dataset(data, "test").labels
    alone = load_dataset(data, "test", labels=True)  # of which not every class need be there
    assert (alone.num_classes, alone.fingerprint("test")) == (3, dataset.fingerprint("test"))
    assert alone.fingerprint("test")["labels_sha256"] != dataset.fingerprint("train")["labels_sha256"]


@pytest.mark.parametrize("kind", ["npz", "pickles", "pictures"])
def test_a_part_is_read(tmp_path, kind):
    data, wanted = DataConfig(str(WRITERS[kind](tmp_path))), np.array([3, 4, 11])
    whole, part = (load_dataset(data, "train", labels=True, part=rows) for rows in (None, lambda count: wanted))
    assert isinstance(part.labels["train"], LocalPart)
    np.testing.assert_array_equal(part.labels["train"][wanted], whole.labels["train"][wanted])
    np.testing.assert_array_equal(part.splits["train"][wanted], whole.splits["train"][wanted])


@pytest.mark.parametrize("name", SOURCES)
def test_the_number_of_classes_is_known_before_the_images_are_there(name):
    data, source = DataConfig(name), SOURCES[name]
    if source.classes == 0:
        with pytest.raises(InputError, match=rf"{name} has no labels, which model.labels=True needs; give a data set"):
            num_classes(data)
    elif source.tfds:
        assert num_classes(data) == num_classes(DataConfig(f"tfds:{source.tfds}"))
    else:
        assert num_classes(data) == load_dataset(data, "test", labels=True).labels["test"].max() + 1


def wrong_labels(folder):
    """Sets whose images are right and whose labels are not; yields (path, what the message must say)."""

    def new(name):
        (folder / name).mkdir()
        return folder / name

    np.savez(folder / "none.npz", train=IMAGES, test=IMAGES)
    yield folder / "none.npz", "has no labels, which model.labels=True needs"
    np.save(folder / "none.npy", IMAGES)
    yield folder / "none.npy", "has no labels"
    yield write_npz(new("few"), labels=np.stack([STORED] * 2)), r"must hold labels \[N\]"
    yield write_npz(new("real"), labels=STORED + 0.5), "must hold whole numbers; y_train is float64"
    yield (
        write_npz(new("unknown"), labels=np.where(np.arange(COUNT) == 29, 7, STORED)),
        (r"\(test\): the label 7 is not among the 3 of the training images"),
    )
    np.savez(new("short") / "a.npz", x_train=IMAGES, x_test=IMAGES, y_train=STORED, y_test=STORED[:4])
    yield folder / "short" / "a.npz", r"\(test\): there are 4 labels for 30 images; give one per image"
    idx = write_idx(new("idx"))
    (idx / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(GREY[:10]))
    yield idx, r"t10k-labels-idx1-ubyte must hold labels, uint8 \[N\]; this is uint8 \[10, 4, 4\]"
    cut = write_idx(new("cut"))
    (cut / "train-labels-idx1-ubyte").write_bytes(idx_bytes(STORED.astype(np.uint8))[:-3])
    yield cut, "it is cut short or too long"
    text = write_batches(new("text"))
    (text / "test_batch").write_bytes(pickle.dumps({"data": np.zeros((2, 48), np.uint8), "labels": ["a", "b"]}))
    yield text, "test_batch cannot be read as a pickled batch: 'labels' is not a list of whole numbers"
    bare = write_batches(new("bare"))
    (bare / "test_batch").write_bytes(pickle.dumps({"data": np.zeros((2, 48), np.uint8)}))
    yield bare, "it has no 'labels'; it has"
    flat = write_pictures(new("flat"))
    Image.fromarray(IMAGES[0]).save(flat / "train" / "stray.png")
    yield flat, "has no labels"
    other = write_pictures(new("other"))
    (other / "test" / "no 9").rename(other / "test" / "no 7")
    yield other, "the label 'no 7' is not among the 3"


def test_wrong_labels_are_refused_where_they_are_read(tmp_path):
    for path, message in wrong_labels(tmp_path):
        data = DataConfig(str(path))
        load_dataset(data, "train", "test")
        with pytest.raises(InputError, match=message) as caught:
            load_dataset(data, "train", "test", labels=True)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)

"""Data sets of tensorflow-datasets through its real preparation: local folders, buckets, and what is refused."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.errors import InputError
from diffenc_jax.data import prepared
from diffenc_jax.data.dataset import load_dataset
from diffenc_jax.data.sources import named_source, prepare
from tests.data.tfds_archives import write_archive


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Only this machine can be reached; the small data sets are known."""
    from tests.data import tfds_builders  # noqa: F401

    resolve = socket.getaddrinfo

    def local(host, *arguments, **options):
        if host != "127.0.0.1":
            raise OSError("no network")
        return resolve(host, *arguments, **options)

    monkeypatch.setattr("socket.getaddrinfo", local)
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["cifar10", "tfds:cifar10:3.0.2"])
def test_through_the_real_preparation(source, tmp_path, monkeypatch):
    archive = write_archive(tmp_path, monkeypatch)
    config = DataConfig(source, dir=str(archive.folder))
    dataset = load_dataset(config, "train", "test", labels=True)
    for split in map(dataset.split, ("train", "test")):
        found = zip(split.data, split.labels, strict=True)
        known = zip(archive.images[split.name], archive.labels[split.name], strict=True)
        assert {(i.tobytes(), int(c)) for i, c in found} == {(i.tobytes(), int(c)) for i, c in known}
    half = load_dataset(config, "train", part=lambda count: np.arange(6, 16)).split("train").data
    np.testing.assert_array_equal(half.local, dataset.split("train").data[6:16])
    again = load_dataset(config, "test", labels=True).split("test").fingerprint
    assert again == dataset.split("test").fingerprint
    assert (again["name"], again["version"], again["num_examples"]) == ("cifar10", "3.0.2", 6)


@pytest.mark.slow
def test_of_two_at_once_the_second_waits_for_the_first(tmp_path, monkeypatch):
    """Both find the set unprepared before either begins."""
    import tensorflow_datasets as tfds

    archive, both = write_archive(tmp_path, monkeypatch), Barrier(2)
    is_prepared, turns = tfds.core.DatasetBuilder.is_prepared, count()

    def asked(builder):
        known = is_prepared(builder)
        if next(turns) < 2:
            both.wait(60)
        return known

    monkeypatch.setattr(tfds.core.DatasetBuilder, "is_prepared", asked)
    with ThreadPoolExecutor() as pool:
        sources = list(pool.map(prepare, [DataConfig("cifar10", dir=str(archive.folder))] * 2))
    assert [source.splits["test"]().shape[0] for source in sources] == [6, 6]


@pytest.mark.slow
def test_files_that_are_missing_or_cut_are_named(tmp_path, monkeypatch):
    """Also where whole records are missing."""
    config = DataConfig("cifar10", dir=str(write_archive(tmp_path, monkeypatch).folder))
    prepare(config)
    (path,) = tmp_path.glob("cifar10/*/cifar10-test.tfrecord-00000-of-00001")
    whole = path.read_bytes()
    first = 16 + int.from_bytes(whole[:8], "little")  # a length, the record and two checksums
    for content in (None, whole[:-1], whole[:first]):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=r"cifar10/3\.0\.2 cannot be read: .*prepare the data set anew"):
            load_dataset(config, "test")
        path.touch()
    path.write_bytes(whole)
    load_dataset(config, "test")
    next(tmp_path.glob("cifar10/*/dataset_info.json")).unlink()
    for act in (prepare, lambda data: load_dataset(data, "train")):
        with pytest.raises(InputError, match=r"cifar10/3\.0\.2 lacks dataset_info.json; delete this folder"):
            act(config)


@pytest.mark.slow
def test_pictures_are_resized_as_those_of_a_folder_and_damage_is_named(tmp_path):
    from PIL import Image

    from tests.data.tfds_builders import picture

    for number in range(5):
        for split in ("train", "test"):
            (tmp_path / "pictures" / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number, 6 + number, 9)).save(tmp_path / "pictures" / split / f"{number}.png")
    config = DataConfig("tfds:tiny_sizes", dir=str(tmp_path), resize=4)
    dataset = load_dataset(config, "train", "test")
    pictures = load_dataset(DataConfig(str(tmp_path / "pictures"), resize=4), "train", "test")
    found, known = dataset.split("test").fingerprint, pictures.split("test").fingerprint
    assert found["sha256_any_order"] == known["sha256_any_order"]
    assert found["version"] == "1.2.3, validation as test, resized to 4x4"
    assert named_source(config).spec(config) == dataset.spec
    with pytest.raises(InputError, match="has no labels"):
        load_dataset(config, "test", labels=True)
    with pytest.raises(InputError, match=r"has images of the shape \(None, None, 3\); resize them"):
        load_dataset(DataConfig("tfds:tiny_sizes", dir=str(tmp_path)), "test")
    (path,) = tmp_path.glob("tiny_sizes/1.2.3/*validation.tfrecord*")
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(InputError, match=r"1\.2\.3 cannot be read: .* prepare the data set anew"):
        load_dataset(config, "test")


REFUSED = [
    ("cifar", r"is not in tensorflow-datasets .*, perhaps cifar10"),
    ("", "is not in tensorflow-datasets"),
    ("imagenet_resized/33x33", "cannot be loaded: "),
    ("cifar100/a=b", "options of a builder are not supported"),
    ("imdb_reviews", r"must hold one image of uint8 per example; its features: .*label"),
    ("tiny_stereo", r"must hold one image of uint8 per example; its features: .*left"),
    ("tiny_deep", "must hold one image of uint8 per example"),
    pytest.param("tiny_train_only", "'test' or 'validation'; it has train, extra", marks=pytest.mark.slow),
    ("cifar10", r"copy https://www\.cs\.toronto\.edu/~kriz/cifar-10-binary\.tar\.gz into .*downloads/manual"),
    ("imagenet_resized/32x32", r"copy http\S*/Imagenet32_train_npz\.zip, http\S*/Imagenet32_val_npz\.zip into "),
    ("mnist", r"copy (http\S*/\S*-ubyte\.gz,? ){4}into "),
    ("imagenet2012", r"copy http\S*_img_train\.tar, http\S*_img_val\.tar into "),  # tfds notes no names
    ("celeb_a", r"copy https\S* as list_eval_partition\.txt, "),
]


@pytest.mark.parametrize(("name", "message"), REFUSED)
def test_sets_that_cannot_be_prepared_are_refused_in_one_line(name, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(DataConfig(f"tfds:{name}", 8 if "2012" in name else None, str(tmp_path)), "train", "test")
    assert "\n" not in str(caught.value)


def test_credentials_of_googles_machines_stay_on_and_its_bucket_is_not_asked(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def asked(path):
        raise AssertionError(f"{path} is asked for")

    monkeypatch.delenv("NO_GCE_CHECK", raising=False)
    monkeypatch.setattr(tfds.core.utils.gcs_utils, "exists", asked)
    with pytest.raises(InputError, match="cannot be reached"):
        load_dataset(DataConfig("cifar10", dir=str(tmp_path)), "train")
    assert "NO_GCE_CHECK" not in os.environ


def test_the_reason_is_that_of_the_network(monkeypatch):
    import tensorflow_datasets as tfds

    def fails(*_, **__):
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise TypeError("missing 1 required positional argument") from error

    monkeypatch.setattr(tfds, "builder", fails)
    monkeypatch.setattr(prepared, "_check_features", lambda *_: None)
    with pytest.raises(InputError, match="cannot be read: Connection refused; check its name"):
        load_dataset(DataConfig("cifar10", dir="gs://bucket/tfds"), "train")


@pytest.mark.slow
def test_prepared_data_sets_in_a_bucket(bucket, tmp_path, monkeypatch, capsys):
    """Copied there by hand or prepared there, by way of a folder on disk."""
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", "gs://bucket/from environment")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    local = DataConfig("tfds:tiny_sizes", dir=str(tmp_path), resize=4)
    known = load_dataset(local, "train", "test")
    for folder in map(as_path, ("gs://bucket/tfds", "gs://bucket/from environment")):
        for path in filter(Path.is_file, tmp_path.rglob("tiny_sizes/**/*")):
            (folder / path.relative_to(tmp_path)).write_bytes(path.read_bytes())
    for config in [replace(local, dir=folder) for folder in ("gs://bucket/tfds", "gs://bucket/tfds/", None)]:
        found = load_dataset(config, "train", "test")
        for split in ("train", "test"):
            assert found.split(split).fingerprint == known.split(split).fingerprint
        part = load_dataset(config, "train", part=lambda count: np.array([1, 3])).split("train").data
        np.testing.assert_array_equal(part.local, known.split("train").data[[1, 3]])
    command = ["prepare-data", "--config=mnist", "--config.data.source=tfds:tiny_sizes", "--config.data.resize=4"]
    command += ["--config.data.dir=gs://bucket/fresh"]
    description = as_path("gs://bucket/fresh/tiny_sizes/1.2.3/dataset_info.json")
    for _ in range(2):  # as if the first call had been interrupted
        assert main(command) == 0
        changed = description.stat().mtime
        assert main(command) == 0
        assert description.stat().mtime == changed
        found = load_dataset(replace(local, dir="gs://bucket/fresh"), "train")
        assert found.split("train").fingerprint == known.split("train").fingerprint
        description.unlink()
    said = "tiny_sizes 1.2.3, validation as test, resized to 4x4: train 5, validation 5, test 5 images\n"
    assert capsys.readouterr().out.count(said) == 4
    with pytest.raises(InputError, match=r"gs://no-such-bucket/tfds cannot be read.*gcloud auth application-default"):
        load_dataset(replace(local, dir="gs://no-such-bucket/tfds"), "train")


def test_a_prepared_set_imports_nothing_of_its_own(tmp_path, monkeypatch):
    """The version in the name makes tensorflow-datasets read features from a file, which may name any class."""
    folder = tmp_path / "tfds/mnist/9.9.9"
    folder.mkdir(parents=True)
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    (folder / "dataset_info.json").write_text('{"name": "mnist", "version": "9.9.9"}')
    (folder / "features.json").write_text('{"\\u0074ype": "stranger.Feature", "content": {}}')
    with pytest.raises(InputError, match=r"features.json names .*stranger.Feature"):
        load_dataset(DataConfig("tfds:mnist:9.9.9", dir=str(tmp_path / "tfds")), "train")

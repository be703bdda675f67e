"""Data sets of tensorflow-datasets, in a local folder or a bucket.

Images must have one size, or be resized. The splits are 'train' and 'test'. Without a test split, the validation split
is called 'test', and the version says so.
"""

import itertools
import json
import re
import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
from filelock import FileLock

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.buckets import as_path, is_remote
from diffenc_jax.core.errors import LONGEST, InputError, first_line, require, suggestion
from diffenc_jax.core.tensorflow import hide_gpus, imported_when_used
from diffenc_jax.core.text import printable
from diffenc_jax.data.checks import reading
from diffenc_jax.data.images import Images, Labels, LabelSpec, OnDemand, Source
from diffenc_jax.data.named import NamedSource
from diffenc_jax.data.picture_folders import square

with imported_when_used("tensorflow_datasets"):
    import tensorflow_datasets as tfds

OWN_FEATURES = "tensorflow_datasets."  # beginning of the names of its own classes
PREFIX = "tfds:"
BATCH = 1024  # images that are decoded together
CATALOGUE = "https://www.tensorflow.org/datasets/catalog"
LOCAL = "~/tensorflow_datasets"  # where sets for a bucket are prepared, if TFDS_DATA_DIR is a bucket too
MOST_NAMED = 4  # files that a message names


@dataclass(frozen=True)
class PreparedSource(NamedSource):
    """A data set that tensorflow-datasets prepares on first use.

    Attributes:
      tfds: its name there.
    """

    tfds: str = ""

    @staticmethod
    def of(name: str, shape: tuple[int, int, int] | None = None, classes: int | None = None) -> "PreparedSource":
        """The data set `name`, with what is known of its images and labels."""
        return PreparedSource(shape, partial(open_prepared, name), LabelSpec(classes) if classes else None, tfds=name)

    def _shape(self, data: DataConfig) -> tuple[int, ...]:
        is_known = self.shape is not None and data.resize is None
        return super()._shape(data) if is_known else _image_shape(self.tfds, data, _builder(self.tfds, data))

    def _label_spec(self, data: DataConfig) -> LabelSpec:
        if self.labels is not None:
            return self.labels
        builder = _builder(self.tfds, data)
        label = _label_feature(builder)
        return LabelSpec(builder.info.features[label].num_classes if label else 0)


def open_prepared(name: str, data: DataConfig) -> Source:
    """The data set `name` of tensorflow-datasets, which is prepared on first use; only requested images are decoded.

    Raises InputError if the data set cannot be prepared, or lacks uint8 images, a training split or a test split.

    Args:
      name: NAME, NAME/CONFIG or NAME:VERSION in tensorflow-datasets.
      data: its `dir` and `resize` are read.
    """
    builder = prepare(name, data)
    image = _image_feature(name, builder)
    known = list(builder.info.splits)
    test = "test" if "test" in known else "validation"
    held = f"{PREFIX}{name} must have the splits 'train' and 'test' or 'validation'; it has {', '.join(known)}"
    require("train" in known and test in known, held)
    theirs = {split: split for split in ("train", "validation") if split in known} | {"test": test}
    read = partial(_read, builder, _copies(builder) if is_remote(str(builder.data_dir)) else lambda _: builder)

    def labels() -> Labels | None:
        label = _label_feature(builder)
        if label is None:
            return None
        splits = {ours: partial(read, split, label) for ours, split in theirs.items()}
        return Labels(splits, lambda: np.arange(builder.info.features[label].num_classes))

    config = builder.builder_config
    version = [str(builder.version)]
    version += ["validation as test"] if test == "validation" else []
    version += [f"resized to {data.resize}x{data.resize}"] if data.resize else []
    images = {ours: partial(read, split, image, data.resize) for ours, split in theirs.items()}
    return Source(f"{builder.name}/{config.name}" if config else builder.name, ", ".join(version), images, labels)


def prepare(name: str, data: DataConfig) -> Any:
    """The builder of the data set `name`, which is prepared if necessary; for a bucket, in a local folder first.

    If several processes share a folder, the first prepares the data set and the others wait. Raises InputError as
    `open_prepared` does.
    """
    builder, folder = _builder(name, data), _folder(data)
    _image_shape(name, data, builder)
    with _opening(folder):
        if builder.is_prepared():
            return builder
    if is_remote(folder):
        local = LOCAL if is_remote(str(tfds.core.constants.DATA_DIR)) else None
        _copy_to_bucket(prepare(name, replace(data, dir=local)), builder)
    else:
        lock = Path(folder, "downloads", f"{builder.info.full_name.replace('/', '-')}.lock")
        with _opening(folder, "written"):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock):
                if not builder.is_prepared():
                    _download(name, builder, folder)
    return _builder(name, data)


def _image_shape(name: str, data: DataConfig, builder: Any) -> tuple[int, int, int]:
    """(height, width, channels) of a data set's images, which need not be prepared.

    Raises InputError if the images differ in shape and `data.resize` is None, or if they cannot be resized.
    """
    shape = builder.info.features[_image_feature(name, builder)].shape
    if data.resize is not None and shape[2] in (1, 3):
        return data.resize, data.resize, shape[2]
    advice = "resize them, as by --config.data.resize=32" if shape[2] in (1, 3) else "take another data set"
    require(None not in shape and data.resize is None, f"{PREFIX}{name} has images of the shape {shape}; {advice}")
    return shape


def _folder(data: DataConfig) -> str:
    """Folder or bucket of prepared data sets: `data.dir`, or TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    return str(as_path(str(data.dir or tfds.core.constants.DATA_DIR)).expanduser())


def _builder(name: str, data: DataConfig) -> Any:
    """The builder of the data set `name`, prepared or not; raises InputError if there is no such data set."""
    folder, what = _folder(data), f"{PREFIX}{name[:99]}"
    base = name.partition("/")[0].partition(":")[0]
    known = tfds.list_builders(with_community_datasets=False)
    unknown = f"{what} is not in tensorflow-datasets (NAME, NAME/CONFIG or NAME:VERSION)"
    require(base in known, f"{unknown}{suggestion(base.lower(), known)}; all: {CATALOGUE}")
    require("=" not in name, f"{what}: options of a builder are not supported; give NAME/CONFIG:VERSION")
    with _opening(folder):
        _check_features(as_path(folder) / base, what)
        try:
            return tfds.builder(name, data_dir=folder)
        except (ImportError, ValueError, AssertionError) as error:  # a package that is missing; an unknown version
            raise InputError(f"{what} cannot be loaded: {first_line(error)[:LONGEST]}") from error


def _check_features(folder: Path, what: str) -> None:
    """Raise InputError if a data set names a class from outside tensorflow-datasets: loading it imports the class.

    Args:
      folder: folder of the data set, which may have subfolders of configurations and versions.
      what: the data set in messages.
    """
    classes: list[Any] = []

    def note(value: dict[str, Any]) -> None:
        classes.extend(value[key] for key in ("type", "pythonClassName") if key in value)

    for path in itertools.chain.from_iterable(folder.glob(f"{level}features.json") for level in ("", "*/", "*/*/")):
        json.loads(path.read_text(), object_hook=note)
        foreign = [name for name in classes if not str(name).startswith(OWN_FEATURES)]
        advice = "which is not of tensorflow-datasets; delete this set and prepare it again"
        require(not foreign, f"{what}: {path} names {printable(str(foreign[:1]))}, {advice}")


def _opening(folder: str, done: str = "read") -> AbstractContextManager[None]:
    """Context that turns any error into an InputError that data sets in `folder` cannot be `done`."""
    advice = "check its permissions, or prepare the data set anew"
    if is_remote(folder):
        advice = "check its name and permissions, and log in by `gcloud auth application-default login`"
    return reading(folder, advice, done)


def _image_feature(name: str, builder: Any) -> str:
    """Name of the feature that holds the images; raises InputError unless there is one of uint8."""
    features = builder.info.features
    known = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    images = [key for key, feature in known.items() if isinstance(feature, tfds.features.Image)]
    images = [key for key in images if key == "image"] or images
    one = len(images) == 1 and np.dtype(known[images[0]].np_dtype) == np.uint8
    require(one, f"{PREFIX}{name} must hold one image of uint8 per example; its features: {str(known)[:LONGEST]}")
    return images[0]


def _label_feature(builder: Any) -> str | None:
    """Name of the feature that holds one class per image; None without one."""
    classes = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.ClassLabel)]
    return "label" if "label" in classes else next(iter(classes), None)


def _copies(builder: Any) -> Callable[[Any], Any]:
    """Function that copies the files of an instruction from a bucket to a local folder, and returns a builder of it.

    tensorflow-datasets would read a bucket through TensorFlow, which has credentials and settings of its own. The
    copies are made by `etils.epath`, as for all other files of a run.
    """
    folder = tempfile.TemporaryDirectory(prefix="diffenc-data-")
    examples = {Path(file).name for split in builder.info.splits.values() for file in split.filenames}
    copied: set[str] = set()

    def holding(instruction: Any) -> Any:
        needed = {Path(file.filename).name for file in builder.info.splits[instruction].file_instructions}
        for path in builder.data_path.iterdir():
            if path.name not in copied and (path.name in needed or path.name not in examples):
                path.copy(Path(folder.name, path.name))
                copied.add(path.name)
        return tfds.builder_from_directory(folder.name)

    return holding


def _read(builder: Any, holding: Callable[[Any], Any], split: str, feature: str, resize: int | None = None) -> Images:
    """Images or labels of a prepared split in a fixed order.

    Args:
      holding: function that returns a builder for an instruction; see `_copies`.
      split, feature: what is read.
      resize: side of the squares to which images are cropped and resized; None: images as they are.
    """
    hide_gpus()
    dtype, shape = builder.info.features[feature].np_dtype, builder.info.features[feature].shape
    shape = shape if resize is None else (resize, resize, shape[-1])

    def read(start: int, stop: int) -> np.ndarray:
        values, at = np.empty((stop - start, *shape), dtype), 0
        with _opening(str(builder.data_dir)):
            instruction = tfds.core.ReadInstruction(split, from_=start, to=stop, unit="abs")
            examples = holding(instruction).as_dataset(
                split=instruction,
                shuffle_files=False,
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
                decoders=tfds.decode.PartialDecoding({feature: True}),
            )
            stored = examples.map(lambda example: example[feature])
            for part in tfds.as_numpy(stored.batch(BATCH if resize is None else 1)):
                values[at : at + len(part)] = part if resize is None else _resized(part[0], resize)
                at += len(part)
        return values

    return OnDemand((builder.info.splits[split].num_examples, *shape), read)


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 [side, side, C] of an image [H, W, 1 or 3], as pictures of a folder are resized."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.asarray(square(picture, side)).reshape(side, side, image.shape[-1])


def _copy_to_bucket(prepared: Any, builder: Any) -> None:
    """Copy the files of the builder `prepared` to the bucket of `builder`."""
    with _opening(str(builder.data_dir), "written"):
        # The description comes last: after an interruption the set lacks it, and counts as not prepared.
        for path in sorted(prepared.data_path.iterdir(), key=lambda path: path.name == "dataset_info.json"):
            path.copy(builder.data_path / path.name, overwrite=True)


def _download(name: str, builder: Any, folder: str) -> None:
    """Download and prepare the data set `name` in `folder`.

    Raises InputError if that fails; the message says which files to copy where by hand.
    """
    hide_gpus()
    manual = Path(folder) / "downloads" / "manual"
    damaged = f"{builder.data_path} lacks dataset_info.json; delete this folder, and the data set is prepared again"
    require(not builder.data_path.exists(), damaged)
    archives = _archives(builder)
    missing = {url: file for url, file in archives.items() if not (manual / file).exists()}
    files = [url if url.endswith(f"/{file}") else f"{url} as {file}" for url, file in (missing or archives).items()]
    listed = ", ".join(files[:MOST_NAMED]) + ", ..." * (len(files) > MOST_NAMED)
    by_hand = f"copy {listed or 'its archives'} into {manual} by hand and run again"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        by_hand += f": {' '.join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())[:LONGEST]}"
    for host in {str(urlsplit(url).hostname) for url in missing}:
        require(_resolves(host), f"{name} cannot be downloaded: {host} cannot be reached; {by_hand}")
    with reading(name, by_hand, "prepared"):
        # tensorflow-datasets has prepared copies in a bucket, but asking for them needs credentials or a time-out.
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))


def _archives(builder: Any) -> dict[str, str]:
    """File names of a data set's archives by address: those with the configuration in their names, otherwise all."""
    config = re.sub(r"x\d+$", "", builder.builder_config.name) if builder.builder_config else ""  # 32 of 32x32
    known = {url: info.filename or url.rpartition("/")[2] for url, info in (builder.url_infos or {}).items()}
    return {url: file for url, file in known.items() if config in file} or known


def _resolves(host: str) -> bool:
    """Whether a host has an address, or a proxy is set. Otherwise tensorflow-datasets would retry for minutes."""
    try:
        return bool(getproxies() or socket.getaddrinfo(host, None))
    except OSError:
        return False

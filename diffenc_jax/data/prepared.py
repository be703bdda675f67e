"""Data sets of tensorflow-datasets, in a local folder or a bucket.

Images must have one size, or be resized. The splits are 'train' and 'test'; where there is no test split, the
validation split is 'test', and the version says so.
"""

import dataclasses
import itertools
import json
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
from filelock import FileLock, Timeout

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core import buckets
from diffenc_jax.core.buckets import as_path, is_remote
from diffenc_jax.core.errors import InputError, first_line, require, suggestion
from diffenc_jax.core.tensorflow import hide_gpus, imported_when_used
from diffenc_jax.core.text import printable
from diffenc_jax.data.checks import LONGEST
from diffenc_jax.data.images import Images, Labels, OnDemand, Source
from diffenc_jax.data.picture_folders import square

with imported_when_used("tensorflow_datasets"):
    import tensorflow_datasets as tfds

OWN_FEATURES = "tensorflow_datasets."  # beginning of the classes that a prepared set may name
PREFIX = "tfds:"
BATCH = 1024  # images that are decoded together
CATALOGUE = "https://www.tensorflow.org/datasets/catalog"
LOCAL = "~/tensorflow_datasets"  # where sets for a bucket are prepared if TFDS_DATA_DIR is a bucket too
MOST_NAMED = 4  # files that a message gives
RECORD_BYTES = 16  # of a record in a TFRecord file besides its content: length and checksums
ANEW = "delete this folder and prepare the data set again, as by `diffenc prepare-data`"


def open_prepared(name: str, data: DataConfig) -> Source:
    """The data set `name` of tensorflow-datasets, which is prepared on first use; only requested images are decoded.

    Raises InputError unless it has images of 8 bits in training and test splits, and is or can be prepared.

    Args:
      name: NAME, NAME/CONFIG or NAME:VERSION in tensorflow-datasets.
      data: its `dir` and `resize` are used.
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
        return Labels.of_classes(splits, builder.info.features[label].num_classes)

    config = builder.builder_config
    version = [str(builder.version)]
    version += ["validation as test"] if test == "validation" else []
    version += [f"resized to {data.resize}x{data.resize}"] if data.resize else []
    images = {ours: partial(read, split, image, data.resize) for ours, split in theirs.items()}
    return Source(f"{builder.name}/{config.name}" if config else builder.name, ", ".join(version), images, labels)


def prepare(name: str, data: DataConfig) -> Any:
    """The builder of the data set `name`, which is prepared unless it is; for a bucket, in a local folder first.

    Of several processes with one folder, the first prepares it while the others wait. Raises InputError, as
    `open_prepared` does, and if files of the prepared set are missing or have another size.
    """
    builder, folder = _builder(name, data), _folder(data)
    image_shape(name, data, builder)
    with _opening(folder):
        is_prepared = builder.is_prepared()
    if not is_prepared:
        if is_remote(folder):
            local = LOCAL if is_remote(str(tfds.core.constants.DATA_DIR)) else None
            _copy_to_bucket(prepare(name, dataclasses.replace(data, dir=local)), builder)
        else:
            with _locked(name, builder, folder):
                if not builder.is_prepared():
                    _download(name, builder, folder)
        builder = _builder(name, data)
    _check_files(builder)
    return builder


@contextmanager
def _locked(name: str, builder: Any, folder: str) -> Iterator[None]:
    """Hold the lock of a data set in a local folder; wait for another process that holds it."""
    with _opening(folder, "written"):
        path = Path(folder, "downloads", f"{builder.info.full_name.replace('/', '-')}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(path).acquire(timeout=0)
        except Timeout:
            print(f"waiting for another process, which prepares {name}", file=sys.stderr, flush=True)
            lock = FileLock(path).acquire()
    with lock:
        yield


def _check_files(builder: Any) -> None:
    """Raise InputError if a prepared data set lacks a file of examples or, on disk, if a split has another size.

    The size that tensorflow-datasets notes is that of the examples, or of TFRecord files with 16 bytes more each.
    """
    folder = builder.data_path
    with _opening(str(folder)):
        paths = {path.name: path for path in folder.iterdir()}
        for split in builder.info.splits.values():
            missing = [name for name in split.filenames if name not in paths]
            require(not missing, f"{folder} lacks {', '.join(missing[:MOST_NAMED])}; {ANEW}")
            noted, added = split.num_bytes, RECORD_BYTES * split.num_examples
            if noted and not is_remote(str(folder)) and builder.info.file_format.value == "tfrecord":
                size = sum(paths[name].stat().length for name in split.filenames)
                have = f"{folder}/{', '.join(split.filenames[:MOST_NAMED])}: {size:,} bytes"
                require(size in (noted, noted + added), f"{have} instead of {noted + added:,}; {ANEW}")


def num_classes(name: str, data: DataConfig) -> int:
    """Number of classes of a data set's labels, 0 without labels; the data set need not be prepared."""
    builder = _builder(name, data)
    label = _label_feature(builder)
    return builder.info.features[label].num_classes if label else 0


def image_shape(name: str, data: DataConfig, builder: Any = None) -> tuple[int, int, int]:
    """(height, width, channels) of a data set's images, which need not be prepared; raises InputError if they vary."""
    builder = builder or _builder(name, data)
    shape = builder.info.features[_image_feature(name, builder)].shape
    if data.resize is not None and shape[2] in (1, 3):
        return data.resize, data.resize, shape[2]
    advice = "resize them, as by --config.data.resize=32" if shape[2] in (1, 3) else "take another data set"
    require(None not in shape and data.resize is None, f"{PREFIX}{name} has images of the shape {shape}; {advice}")
    return shape


def _folder(data: DataConfig) -> str:
    """Folder or bucket of prepared data sets; by default that of tensorflow-datasets, which TFDS_DATA_DIR sets."""
    folder = data.dir or tfds.core.constants.DATA_DIR
    if is_remote(folder):
        buckets.prepare()
        return folder.rstrip("/")
    require("://" not in folder, f"data.dir={folder} is neither a folder nor gs://BUCKET/FOLDER; give one of these")
    return str(Path(folder).expanduser())


def _builder(name: str, data: DataConfig) -> Any:
    """The builder of `name`, with what is prepared in the folder of data sets; raises InputError."""
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
    """Raise InputError if a set in a folder names a class that is not tensorflow-datasets' own: it would be imported.

    The set is in the folder itself, or in subfolders of configurations and versions.
    """

    def names(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            yield from (value[key] for key in ("type", "pythonClassName") if key in value)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from names(inner)

    for path in itertools.chain.from_iterable(folder.glob(f"{level}features.json") for level in ("", "*/", "*/*/")):
        foreign = [name for name in names(json.loads(path.read_text())) if not str(name).startswith(OWN_FEATURES)]
        advice = "which is not of tensorflow-datasets; delete this set and prepare it again"
        require(not foreign, f"{what}: {path} names {printable(str(foreign[:1]))}, {advice}")


@contextmanager
def _opening(folder: str, done: str = "read") -> Iterator[None]:
    """Turn any error into an InputError that data sets in `folder` cannot be `done`; libraries raise anything."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said: BaseException = error
        while not isinstance(said, OSError) and (cause := said.__cause__ or said.__context__):
            said = cause  # libraries wrap the errors of networks and disks
        reason = (getattr(said, "strerror", None) or first_line(error))[:LONGEST]
        advice = "check its permissions, or prepare the data set anew"
        if is_remote(folder):
            advice = "check its name and permissions, and log in by `gcloud auth application-default login`"
        raise InputError(f"{folder} cannot be {done} ({type(said).__name__}: {reason}); {advice}") from error


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
    """Function from an instruction to a builder of a data set in a bucket, whose files are copied to a local folder.

    tensorflow-datasets reads examples by TensorFlow, whose own access to buckets has its own credentials and settings;
    copies by `etils.epath` have those of all other files of a run.
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
        _check_features(Path(folder.name), folder.name)
        return tfds.builder_from_directory(folder.name)

    return holding


def _read(builder: Any, holding: Callable[[Any], Any], split: str, feature: str, resize: int | None = None) -> Images:
    """Images or labels of a prepared split in a fixed order. `holding` as in `_copies`."""
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
    """Copy the files of a data set that is prepared to the bucket of `builder`, where it then is prepared too."""
    with _opening(str(builder.data_dir), "written"):
        # The description is the last: what lacks it, as after an interruption, counts as not prepared.
        for path in sorted(prepared.data_path.iterdir(), key=lambda path: path.name == "dataset_info.json"):
            path.copy(builder.data_path / path.name, overwrite=True)


def _download(name: str, builder: Any, folder: str) -> None:
    """Download and prepare a data set; raises InputError, which says where to put its files, if that fails.

    Args:
      name: its name in messages.
      builder: its builder, whose data are not prepared.
      folder: folder of prepared data sets.
    """
    hide_gpus()
    manual = Path(folder) / "downloads" / "manual"
    require(not builder.data_path.exists(), f"{builder.data_path} lacks dataset_info.json; {ANEW}")
    archives = _archives(builder)
    missing = {url: file for url, file in archives.items() if not (manual / file).exists()}
    files = [url if url.endswith(f"/{file}") else f"{url} as {file}" for url, file in (missing or archives).items()]
    listed = ", ".join(files[:MOST_NAMED]) + ", ..." * (len(files) > MOST_NAMED)
    by_hand = f"copy {listed or 'its archives'} into {manual} by hand and run again"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        by_hand += f": {' '.join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())[:LONGEST]}"
    for host in {str(urlsplit(url).hostname) for url in missing}:
        require(_resolves(host), f"{name} cannot be downloaded: {host} cannot be reached; {by_hand}")
    try:
        # Prepared copies in the bucket of tensorflow-datasets are not asked for: that needs credentials or a time-out.
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # network, disk and archives raise anything
        reason = first_line(error)[:LONGEST]
        raise InputError(f"{name} could not be prepared ({type(error).__name__}: {reason}); {by_hand}") from error


def _archives(builder: Any) -> dict[str, str]:
    """File names of the archives of a data set by their addresses: of its configuration, if their names tell."""
    config = re.sub(r"x\d+$", "", builder.builder_config.name) if builder.builder_config else ""  # 32 of 32x32
    known = {url: info.filename or url.rpartition("/")[2] for url, info in (builder.url_infos or {}).items()}
    return {url: file for url, file in known.items() if config in file} or known


def _resolves(host: str) -> bool:
    """Whether a host has an address or a proxy is set. tensorflow-datasets itself retries for minutes."""
    try:
        return bool(getproxies() or socket.getaddrinfo(host, None))
    except OSError:
        return False

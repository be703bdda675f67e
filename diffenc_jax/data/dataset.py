"""`Dataset`: uint8 images by split, checked and with fingerprints; `load_dataset` finds them by name or path."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError, refusing, require
from diffenc_jax.data import checks, fingerprints, prepared, sources
from diffenc_jax.data.images import (
    NO_LABELS,
    Batch,
    Images,
    LabelArrays,
    Labels,
    LabelSpec,
    LocalPart,
    Source,
    converted,
    read_rows,
    rows_in_file,
)
from diffenc_jax.diffusion.standard import UNCHANGED, Standard

TRAIN = "train"
HELD_OUT = "since at least one is held out where there is no test split"


@dataclass(frozen=True)
class Dataset:
    """Data by split, all of one shape: images uint8 [N, H, W, C], or real numbers [N, ..., C] in float32 or float64.

    If this host holds only a part of a split, the split is a `LocalPart`, with the indices of the full split.

    Attributes:
      pixel_levels: number of values of a pixel; None for real numbers.
      labels: labels by split: classes from 0, int32 [N]; images, uint8 [N, h, w, c]; or vectors, float64 [N, K]. This
        host holds the labels of the data that it holds. Empty if no model reads labels.
      label_spec: the kind of the labels.
      standard: standardisation of real numbers.
      log_prob: as in `Source`.
    """

    name: str
    version: str
    pixel_levels: int | None
    splits: Mapping[str, np.ndarray | LocalPart]
    labels: Mapping[str, np.ndarray | LocalPart] = field(default_factory=dict)
    label_spec: LabelSpec = NO_LABELS
    standard: Standard = UNCHANGED
    log_prob: Callable[[np.ndarray], np.ndarray] | None = None
    _fingerprints: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _examples: dict[str, Batch] = field(default_factory=dict, init=False, repr=False, compare=False)
    _true_bits: dict[str, np.ndarray | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width, channels) of images, or (..., C)."""
        return tuple(next(iter(self.splits.values())).shape[1:])

    def unchanged(self, split: str) -> Batch:
        """All data of a split in the units of the data set, with their labels if there are labels."""
        return Batch(self.splits[split], self.labels.get(split))

    def examples(self, split: str) -> Batch:
        """All data of a split, with their labels if there are labels; real numbers are standardised float32.

        The result is kept, so that each split is standardised once.
        """
        if split not in self._examples:
            data, labels, _ = self.unchanged(split)
            if self.pixel_levels is None:
                data = converted(data, self.standard.single)
            if labels is not None and self.label_spec.standard:
                labels = converted(labels, self.label_spec.standard.single)
            self._examples[split] = Batch(data, labels)
        return self._examples[split]

    def true_bits(self, split: str) -> np.ndarray | None:
        """True -log2 p of each example of a split, bits/dim [N], computed once per split; None if it is unknown.

        It is unknown without `log_prob`, given labels, and for a part of a split. Raises InputError unless `log_prob`
        gives a finite number per example.
        """
        if split not in self._true_bits:
            self._true_bits[split] = self._find_true_bits(split)
        return self._true_bits[split]

    def _find_true_bits(self, split: str) -> np.ndarray | None:
        data = self.splits[split]
        if self.log_prob is None or self.labels or isinstance(data, LocalPart):
            return None
        what = f"{self.name} ({split}): log_prob"
        with refusing(what, "correct it, or leave it out"):
            nats = np.asarray(self.log_prob(data), np.float64)
        wanted = f"{what} must give [{len(data)}] finite numbers, the nats of each example; it gives"
        require(nats.shape == (len(data),), f"{wanted} {list(nats.shape)}")
        finite = np.isfinite(nats)
        require(bool(finite.all()), f"{wanted} {nats[~finite][:1]} for example {np.argmin(finite)}")
        return -nats / (math.prod(self.shape) * math.log(2))

    @property
    def standards(self) -> dict[str, Standard]:
        """The standardisations of real numbers, of 'data' and of 'labels'."""
        data = {"data": self.standard} if self.pixel_levels is None else {}
        return data | ({"labels": self.label_spec.standard} if self.label_spec.standard else {})

    def fingerprint(self, split: str) -> dict[str, Any]:
        """A record's 'dataset': JSON values that identify the images of a split; computed once per split.

        The functions of `fingerprints` return `sha256`, `sha256_any_order` and `known_as`, the name of a well-known
        set or None. `dims` is the number of values per image. Only a data set with labels has `labels_sha256`. Only
        real numbers have `values`: their bits/dim are those of a density, in the units of the data. Only data of a
        known distribution have `true_bpd`, the mean of `true_bits` to six decimals, which all machines agree on.
        """
        if split not in self._fingerprints:
            images: Any = self.splits[split]
            labels: Any = self.labels.get(split)
            any_order, true = fingerprints.sha256_any_order(images), self.true_bits(split)
            self._fingerprints[split] = {
                "name": self.name,
                "version": self.version,
                "split": split,
                "num_examples": len(images),
                "dims": math.prod(self.shape),
                "sha256": fingerprints.sha256(images),
                "sha256_any_order": any_order,
                "known_as": fingerprints.known_as(any_order, len(images), self.shape, split),
                **({} if labels is None else {"labels_sha256": fingerprints.sha256(labels)}),
                **({} if self.pixel_levels else {"values": "real"}),
                **({} if true is None else {"true_bpd": round(float(true.mean()), 6)}),
            }
        return self._fingerprints[split]


def load_dataset(
    data: DataConfig,
    *splits: str,
    labels: bool = False,
    part: Callable[[int], np.ndarray] | None = None,
    standards: Mapping[str, Standard] = {},
) -> Dataset:
    """Load the given splits of the data set that `data` describes; raises InputError unless it is as described.

    Args:
      labels: whether to read the labels; raises InputError if there are none.
      part: function from the number of training images to the increasing indices of the images that this host needs;
        None: all images.
      standards: as `Dataset.standards`; if missing, means and deviations are those of the training data.
    """
    source = _named(data).open(data)
    for split in splits:
        require(split in source.splits, f"{source.name} has no split {split!r}; it has {', '.join(source.splits)}")
    opened = {split: source.splits[split]() for split in splits}
    names = {split: f"{source.name} ({split})" for split in splits}
    levels = data.pixel_levels
    images = {split: _read(names[split], opened[split], part if split == TRAIN else None, levels) for split in splits}
    shapes = {split: images[split].shape[1:] for split in splits}
    require(len(set(shapes.values())) == 1, f"{source.name}: the splits differ in shape: {shapes}")
    dataset = Dataset(source.name, source.version, levels, images, log_prob=source.log_prob)
    if levels is None:
        train = opened[TRAIN] if TRAIN in opened else source.splits[TRAIN]()
        standard = _kept("data", standards, dataset.shape[-1]) or Standard.of(train)
        for split, held in images.items():
            checks.check_reals(names[split], *_local(held, opened[split]), standard, have_density=split == TRAIN)
        dataset = replace(dataset, standard=standard)
    return _with_labels(dataset, _labels(source), opened, standards) if labels else dataset


def _kept(kind: str, standards: Mapping[str, Standard], size: int) -> Standard | None:
    """The standardisation of 'data' or of 'labels' in `standards`; raises InputError unless it is of `size` entries."""
    if kind in standards:
        standards[kind].check(f"standards.{kind} in the run's config.json", size, "restore that file")
    return standards.get(kind)


def _with_labels(
    dataset: Dataset, stored: Labels | LabelArrays, opened: Mapping[str, Images], standards: Mapping[str, Standard]
) -> Dataset:
    """The data set with the labels of its splits, which are `opened`; raises InputError if they do not suit it."""
    spec = stored.spec
    if spec.standard and spec.shape:
        spec = replace(spec, standard=_kept("labels", standards, spec.shape[-1]) or spec.standard)
    read = {split: stored.read(f"{dataset.name} ({split})", split, held) for split, held in dataset.splits.items()}
    for split, held in read.items() if isinstance(stored, LabelArrays) else ():
        what, (local, rows) = f"labels of {dataset.name} ({split})", _local(held, opened[split])
        if spec.standard:
            checks.check_reals(what, local, rows, spec.standard, have_density=False)
        else:
            _check_pixels(what, local, dataset.pixel_levels or checks.MOST_LEVELS)
    return replace(dataset, labels=read, label_spec=spec)


def _local(held: np.ndarray | LocalPart, whole: Images) -> tuple[np.ndarray, np.ndarray]:
    """The part of the split `whole` that this host holds, and the index of each of its rows in the file."""
    local, rows = (held.local, held.rows) if isinstance(held, LocalPart) else (held, np.arange(len(held)))
    return local, rows_in_file(whole, rows)


def prepare(data: DataConfig) -> Source | None:
    """The data set of tensorflow-datasets that `data` names, prepared if necessary; None for other images.

    Raises InputError if it cannot be prepared.
    """
    named = _named(data)
    return named.open(data) if named.tfds else None


def label_spec(data: DataConfig) -> LabelSpec:
    """The kind of labels of the images that `data` describes. A named data set need not be on this machine.

    Raises InputError if there are no labels, or if they cannot be read.
    """
    named = _named(data)
    spec = named.labels
    if spec is None:
        spec = prepared.label_spec(named.tfds, data) if named.tfds else _labels(named.open(data)).spec
    require(spec != NO_LABELS, _without_labels(data.source))
    return spec


def data_shape(data: DataConfig) -> tuple[int, ...]:
    """Shape of one example, such as (height, width, channels), of the data that `data` describes.

    A named data set need not be on this machine.

    Raises InputError if the name is unknown, or if no images can be read at the path.
    """
    named = _named(data)
    if named.tfds and (named.shape is None or data.resize is not None):
        return prepared.image_shape(named.tfds, data)
    if named.shape is not None:
        return named.shape
    return tuple(named.open(data).splits[TRAIN]().shape[1:])


def _labels(source: Source) -> Labels | LabelArrays:
    """The labels of `source`; raises InputError without any."""
    labels = source.labels()
    if labels is None:
        raise InputError(_without_labels(source.name))
    return labels


def _without_labels(name: str) -> str:
    advice = "a folder of pictures with a subfolder per class, or an .npz file with y_train and y_test"
    return f"{name} has no labels, which model.labels=True needs; give a data set with labels, such as {advice}"


def _named(data: DataConfig) -> sources.NamedSource:
    """The source that `data` describes: one with a name, or the images at a path.

    Raises InputError if there is neither.
    """
    named = sources.named_source(data.source)
    if named is None:
        known = f"a known data set ({', '.join(sorted(parts.entries('data')))}, or tfds:NAME)"
        is_path = os.path.exists(data.source)
        require(is_path, f"data.source={data.source[:99]!r} is neither {known} nor a path that can be read")
        form = checks.REALS if data.pixel_levels is None else checks.IMAGES
        path = Path(data.source)
        return sources.NamedSource(None, lambda data: sources.open_path(path, data.resize, form), labels=None)
    options = f"data.resize={data.resize} is for folders of pictures and for tensorflow-datasets; leave it out"
    require(bool(named.tfds) or data.resize is None, options)
    return named


def _read(
    what: str, images: Images, part: Callable[[int], np.ndarray] | None, pixel_levels: int | None
) -> np.ndarray | LocalPart:
    """A split, or the data of it that `part` selects; raises InputError unless they are as `pixel_levels` says."""
    count = images.shape[0]
    require(math.prod(images.shape) > 0, f"{what}: this split has no images; give at least two, {HELD_OUT}")
    rows = np.arange(count) if part is None else part(count)
    checks.fits_memory(what, (len(rows), *images.shape[1:]), 1 if pixel_levels else 8)
    held = read_rows(images, rows)
    if pixel_levels:
        _check_pixels(what, held, pixel_levels)
    else:
        whole = f"{what}: these are {held.dtype}, not real numbers, which data.pixel_levels=None is for"
        require(held.dtype in (np.float32, np.float64), f"{whole}; take a configuration of images, such as digits")
    return held if len(rows) == count else LocalPart(held, rows, images.shape)


def _check_pixels(what: str, held: np.ndarray, pixel_levels: int) -> None:
    """Raise InputError, which begins with `what`, unless `held` are uint8 [N, H, W, C] below `pixel_levels`."""
    it_is = f"{held.dtype} {list(held.shape)}"
    require(held.dtype == np.uint8 and held.ndim == 4, f"{what}: images must be uint8 [N, H, W, C], these are {it_is}")
    largest, allowed = int(held.max()), pixel_levels - 1
    has = f"{what}: a pixel has the value {largest}, but data.pixel_levels={pixel_levels} allows 0 .. {allowed}"
    require(largest <= allowed, f"{has}; take data.pixel_levels={checks.MOST_LEVELS} for images of 8 bits")

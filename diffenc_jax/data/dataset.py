"""`Dataset`: data by split, each read, checked and standardised when it is first needed."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError, refusing, require
from diffenc_jax.data import checks, fingerprints
from diffenc_jax.data.images import (
    NO_LABELS,
    Batch,
    Images,
    LabelArrays,
    Labels,
    LocalPart,
    Source,
    converted,
    read_rows,
    rows_in_file,
)
from diffenc_jax.data.named import WITHOUT_LABELS
from diffenc_jax.data.sources import open_source
from diffenc_jax.data.spec import DataSpec
from diffenc_jax.diffusion.standard import UNCHANGED, Standard

TRAIN = "train"
HELD_OUT = "since at least one is held out where there is no test split"


@dataclass(frozen=True, eq=False)
class Split:
    """Data of one split: images uint8 [N, H, W, C], or real numbers [N, ..., C] in float32 or float64.

    If this host holds only a part of the split, the data are a `LocalPart`, with the indices of the full split.

    Attributes:
      name: name of the split.
      source: where the data come from.
      spec: the kind of the data and of their labels.
      data: the data in their units.
      labels: their labels: classes from 0, int32 [N]; images, uint8 [N, h, w, c]; or vectors, float64 [N, K]. None if
        no model reads labels.
      note: what is to be known of a fingerprint of the split; "" as a rule.
    """

    name: str
    source: Source
    spec: DataSpec
    data: Any
    labels: Any = None
    note: str = ""

    @cached_property
    def examples(self) -> Batch:
        """The data with their labels as a batch holds them: real numbers are standardised float32."""
        data, labels, label_standard = self.data, self.labels, self.spec.label_spec.standard
        if self.spec.pixel_levels is None:
            data = converted(data, self.spec.standard.single)
        if labels is not None and label_standard:
            labels = converted(labels, label_standard.single)
        return Batch(data, labels)

    @cached_property
    def true_bits(self) -> np.ndarray | None:
        """True -log2 p of each example, bits/dim [N]; None if it is unknown.

        It is unknown without `Source.log_prob`, given labels, and for a part of a split. Raises InputError unless
        `log_prob` gives a finite number per example.
        """
        log_prob, count = self.source.log_prob, len(self.data)
        if log_prob is None or self.labels is not None or isinstance(self.data, LocalPart):
            return None
        what = f"{self.source.name} ({self.name}): log_prob"
        with refusing(what, "correct it, or leave it out"):
            nats = np.asarray(log_prob(self.data), np.float64)
        wanted = f"{what} must give [{count}] finite numbers, the nats of each example; it gives"
        require(nats.shape == (count,), f"{wanted} {list(nats.shape)}")
        finite = np.isfinite(nats)
        require(bool(finite.all()), f"{wanted} {nats[~finite][:1]} for example {np.argmin(finite)}")
        return -nats / (self.spec.dims * math.log(2))

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """A record's 'dataset': JSON values that identify the data.

        The functions of `fingerprints` return `sha256`, `sha256_any_order` and `known_as`, the name of a well-known
        set or None. `dims` is the number of values per image. Only a data set with labels has `labels_sha256`. Only
        real numbers have `values`: their bits/dim are those of a density, in the units of the data. Only data of a
        known distribution have `true_bpd`, the mean of `true_bits` to six decimals, which all machines agree on.
        """
        any_order, true = fingerprints.sha256_any_order(self.data), self.true_bits
        return {
            "name": self.source.name,
            "version": self.source.version,
            "split": self.name,
            "num_examples": len(self.data),
            "dims": self.spec.dims,
            "sha256": fingerprints.sha256(self.data),
            "sha256_any_order": any_order,
            "known_as": fingerprints.known_as(any_order, len(self.data), self.spec.shape, self.name),
            **({} if self.labels is None else {"labels_sha256": fingerprints.sha256(self.labels)}),
            **({} if self.spec.pixel_levels else {"values": "real"}),
            **({"note": self.note} if self.note else {}),
            **({} if true is None else {"true_bpd": round(float(true.mean()), 6)}),
        }


class Dataset:
    """The splits that a source opens, all of one kind. A split is read when it is first asked for, and kept."""

    def __init__(
        self,
        open_source: Callable[[], Source],
        pixel_levels: int | None,
        *,
        labels: bool = False,
        part: Callable[[int], np.ndarray] | None = None,
        spec: DataSpec | None = None,
        check: Callable[[Split], str] = lambda split: "",
    ):
        """Nothing is opened.

        Args:
          open_source: opens the source; called once.
          pixel_levels: number of values of a pixel; None for real numbers.
          labels: whether to read the labels.
          part: function from the number of training images to the increasing indices of the images that this host
            needs; None: all images.
          spec: the kind of the data, if it is known; otherwise it is found out from the training data.
          check: called with a split when it is read; it may raise an InputError, and returns the split's `note`.
        """
        self._open_source, self._levels, self._has_labels, self._part = open_source, pixel_levels, labels, part
        self._known, self._check = spec, check
        self._opened, self._splits = dict[str, Images](), dict[str, Split]()

    @cached_property
    def source(self) -> Source:
        """The source. Raises InputError if it cannot be opened."""
        return self._open_source()

    @cached_property
    def spec(self) -> DataSpec:
        """Kind of the data, as a model needs it. Raises InputError if the data cannot be read, or lack labels."""
        if self._known is not None:
            return self._known
        labels = self._labels.spec if self._has_labels else NO_LABELS
        shape = tuple(self._open(next(iter(self._opened), TRAIN)).shape[1:])
        standard = UNCHANGED if self._levels else Standard.of(self._open(TRAIN))
        return DataSpec(shape, self._levels, labels, standard)

    @cached_property
    def _labels(self) -> Labels | LabelArrays:
        labels = self.source.labels()
        if labels is None:
            raise InputError(f"{self.source.name} {WITHOUT_LABELS}")
        return labels

    def split(self, name: str) -> Split:
        """The split of this name. Raises InputError if there is none, or unless it is as described."""
        if name not in self._splits:
            read = self._read(name)
            self._splits[name] = replace(read, note=self._check(read))
        return self._splits[name]

    def with_split(self, split: Split) -> "Dataset":
        """The data set with another split of this name."""
        other = copy.copy(self)
        other._splits = self._splits | {split.name: split}
        return other

    def _open(self, name: str) -> Images:
        splits = self.source.splits
        require(name in splits, f"{self.source.name} has no split {name!r}; it has {', '.join(splits)}")
        if name not in self._opened:
            self._opened[name] = splits[name]()
        return self._opened[name]

    def _read(self, name: str) -> Split:
        source, opened = self.source, self._open(name)
        what, levels = f"{source.name} ({name})", self._levels
        held = _read(what, opened, self._part if name == TRAIN else None, levels)
        spec, given = self.spec, tuple(held.shape[1:])
        differ = f"{what}: the splits differ in shape: {list(given)} here, {list(spec.shape)} in the training data"
        require(given == spec.shape, differ)
        if levels is None:
            checks.check_reals(what, *_local(held, opened), spec.standard, have_density=name == TRAIN)
        labels = _read_labels(self._labels, spec, what, name, held, opened) if self._has_labels else None
        del self._opened[name]  # it may be large
        return Split(name, source, spec, held, labels)


def load_dataset(data: DataConfig, *splits: str, **options: Any) -> Dataset:
    """The data set that `data` describes, with these splits read.

    Raises InputError unless they are as described.

    Args:
      options: arguments of `Dataset`.
    """
    dataset = Dataset(lambda: open_source(data), data.pixel_levels, **options)
    for split in splits:
        dataset.split(split)
    return dataset


def _read_labels(
    stored: Labels | LabelArrays, spec: DataSpec, what: str, split: str, held: np.ndarray | LocalPart, opened: Images
) -> np.ndarray | LocalPart:
    """The labels of the data that this host holds; raises InputError if they do not suit the data."""
    labels = stored.read(what, split, held)
    if isinstance(stored, LabelArrays):
        what, (local, rows) = f"labels of {what}", _local(labels, opened)
        if spec.label_spec.standard:
            checks.check_reals(what, local, rows, spec.label_spec.standard, have_density=False)
        else:
            _check_pixels(what, local, spec.pixel_levels or checks.MOST_LEVELS)
    return labels


def _local(held: np.ndarray | LocalPart, whole: Images) -> tuple[np.ndarray, np.ndarray]:
    """The part of the split `whole` that this host holds, and the index of each of its rows in the file."""
    local, rows = (held.local, held.rows) if isinstance(held, LocalPart) else (held, np.arange(len(held)))
    return local, rows_in_file(whole, rows)


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

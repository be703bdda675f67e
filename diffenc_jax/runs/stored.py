"""A run on disk or in a bucket, as an object that reads each of its files once."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from diffenc_jax.config import Config
from diffenc_jax.config.sections import LEARNED
from diffenc_jax.core.errors import InputError, noting, require
from diffenc_jax.core.typed import mismatch
from diffenc_jax.core.versions import OURS, Environment, package_version
from diffenc_jax.data.images import LabelSpec
from diffenc_jax.data.spec import DataSpec
from diffenc_jax.diffusion.standard import UNCHANGED, Standard
from diffenc_jax.runs import files
from diffenc_jax.runs.metrics import Row, read_metrics
from diffenc_jax.runs.record_types import ADVICE, Record
from diffenc_jax.runs.records import EVAL_FOLDER, Evaluation, read_evaluation, read_record

CONFIG_FILE, CHECKPOINTS = "config.json", "checkpoints"
NAMED = ("name", "arm", "seed")  # keys that are in the name of every default workdir
# Keys that hold only for the command or call that gives them, with their defaults.
NOT_KEPT = {"model.scan": False, "model.remat": None, "checkpoint.other_parts": False}
MOST_NAMED = 6  # differences between two configurations that a message names


@dataclass(frozen=True)
class Origin:
    """Identity, environments and data of a run's training, as its config.json keeps them beside the configuration.

    Attributes:
      environments: environments in which the run was trained, in order; empty before its first step.
      training_data: digests of the training images and, for a model that reads them, of their labels, by 'images' and
        'labels'; empty for parameters that were not trained here.
      evaluation_data: SHA-256 digests of splits for evaluation, by their names.
      standards: standardisations of real numbers, of 'data' and of 'labels', each by 'mean' and 'deviation'. The
        checkpoints store a digest of them.
      kind: the kind of the data: 'shape' of an example, number of 'classes' and 'label_shape', as in `LabelSpec`. None
        for parameters that were not trained here.
      run: identity, which the checkpoints store too: 16 random hexadecimal digits; empty before the first `write`.
    """

    environments: Sequence[Environment] = ()
    training_data: Mapping[str, str] = field(default_factory=dict)
    evaluation_data: Mapping[str, str] = field(default_factory=dict)
    standards: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    kind: Mapping[str, Any] | None = None
    run: str = ""

    @property
    def other_version(self) -> str:
        """'; it was trained at ...': part of a message, empty unless another version trained the last steps."""
        theirs = self.environments[-1]["software"].get(OURS, "") if self.environments else ""
        ours = package_version()
        return "" if theirs in ("", ours) else f"; it was trained at {OURS} {theirs}, and this is {ours}"


NO_ORIGIN = Origin()


class _Standard(TypedDict):
    """Entries of a `Standard`."""

    mean: list[float]
    deviation: list[float]


class _Kind(TypedDict):
    """Entries of `Origin.kind`."""

    shape: list[int]
    classes: int
    label_shape: list[int] | None


class _Stored(TypedDict):
    """Entries of config.json beside the configuration; see `Origin`."""

    environments: NotRequired[list[Environment]]
    training_data: NotRequired[dict[str, str]]
    evaluation_data: NotRequired[dict[str, str]]
    standards: NotRequired[dict[str, _Standard]]
    kind: NotRequired[_Kind | None]
    run: NotRequired[str]


class StoredRun:
    """The run in `workdir`, which need not exist yet.

    Each file is read once, when it is first needed, and kept. Only `write` changes config.json, under the run's lock.
    Metrics and records that a process adds later are read by a new object. `steps` and `record_paths` list a folder at
    each call.

    Attributes:
      workdir: folder of the run.
    """

    def __init__(self, workdir: Path):
        self.workdir, self._path, self._unreadable = workdir, workdir / CONFIG_FILE, list[str]()

    @cached_property
    def _content(self) -> bytes | None:
        """Content of config.json; None without one."""
        try:
            return files.read_bytes(self._path)
        except files.Missing:
            return None

    @cached_property
    def exists(self) -> bool:
        """Whether there is a run, which may have no checkpoint yet; InputError if its config.json cannot be read."""
        return self._content is not None

    @cached_property
    def _values(self) -> tuple[dict[str, Any], Origin]:
        """The unchecked configuration, and the origin. Raises InputError."""
        if self._content is None:
            lacks = f"{self.workdir} holds no run (no {CONFIG_FILE})"
            raise InputError(f"{lacks}; train one there, or give the folder of a run")
        values = files.parse_file(self._path, self._content)
        wrong = mismatch(values, _Stored)
        damaged = f"{self._path} is damaged, or of another version of {OURS}"
        require(wrong is None, f"{damaged}: {wrong or 'it'} is wrong; restore it")
        return values, Origin(**{key: values.pop(key) for key in vars(NO_ORIGIN) if key in values})

    @cached_property
    def config(self) -> Config:
        """The configuration, with the keys `NOT_KEPT` as by default; InputError without a run, or if it is damaged."""
        values, origin = self._values
        try:
            return Config.parse(values).replace(NOT_KEPT)
        except InputError as error:
            why = f"{error}{origin.other_version}"
            raise InputError(f"{self._path} is not a configuration of this program: {why}") from error

    @cached_property
    def origin(self) -> Origin:
        """The origin, an empty one without a run; InputError if config.json is damaged."""
        return self._values[1] if self.exists else NO_ORIGIN

    @property
    def standards(self) -> dict[str, Standard]:
        """The standardisations of real numbers by which the run was trained."""
        kept = self.origin.standards
        return {name: Standard(tuple(one["mean"]), tuple(one["deviation"])) for name, one in kept.items()}

    @property
    def spec(self) -> DataSpec | None:
        """The kind of the data; None if only the data tell it. Raises InputError if its standards are wrong."""
        kind, standards = self.origin.kind, self.standards
        if kind is None:
            return None
        label_shape = kind["label_shape"] and tuple(kind["label_shape"])
        for name, shape in {"data": kind["shape"], "labels": label_shape}.items():
            if shape and name in standards:
                standards[name].check(f"standards.{name} in {self._path}", shape[-1], "restore that file")
        labels = LabelSpec(kind["classes"], label_shape, standards.get("labels"))
        standard = standards.get("data", UNCHANGED)
        return DataSpec(tuple(kind["shape"]), self.config.data.pixel_levels, labels, standard)

    def write(self, config: Config, origin: Origin = NO_ORIGIN) -> None:
        """Store the configuration, with a new identity unless `origin` has one; InputError if it cannot be written."""
        origin = replace(origin, run=origin.run or secrets.token_hex(8))
        with files.writing(self.workdir):
            files.write_json(self._path, config.to_dict() | vars(origin))
        self.exists, self.config, self.origin = True, config.replace(NOT_KEPT), origin

    def check(self, config: Config, must_exist: bool, advice: str = files.OTHER_WORKDIR) -> None:
        """Raise InputError unless this is a run of `config` or, unless it `must_exist`, no run yet.

        A run that must exist is only read. It may be evaluated with another `loss` than it was trained with, unless one
        of the two learns the variance ratio, which is then among the parameters.

        Args:
          advice: end of the message: what to do about a workdir that cannot be used.
        """
        workdir, checkpoints = self.workdir, self.workdir / CHECKPOINTS
        if not must_exist and not self.exists:
            require(files.is_folder(workdir) or not files.exists(workdir), f"{workdir} is not a folder; name a folder")
            require(not files.exists(checkpoints), f"{workdir} holds checkpoints but no {CONFIG_FILE}; {advice}")
            return
        different = config.differences(self.config)
        if must_exist and LEARNED not in (config.loss.variance_ratio, self.config.loss.variance_ratio):
            different = [line for line in different if not line.startswith("loss.")]
        different.sort(key=lambda line: line.partition("=")[0] not in NAMED)
        named = different[:MOST_NAMED] + ["..."] * (len(different) > MOST_NAMED)
        require(not different, f"{workdir} holds a run of another configuration: {'; '.join(named)}; {advice}")

    def steps(self) -> list[int]:
        """Steps of the checkpoints, increasing; no checkpoint is opened, so some may be damaged."""
        paths = files.list_paths(self.workdir / CHECKPOINTS, "*")
        return sorted(int(path.name) for path in paths if path.name.isdecimal())

    def record_paths(self, split: str = "*", step: int | str = "*") -> list[Path]:
        """Sorted paths of the records, of one split and step if given."""
        return files.list_paths(self.workdir / EVAL_FOLDER, f"{split}-{step}-*.json")

    def last_record(self) -> tuple[Path, Record]:
        """Path and record of the last evaluated step; among several records, the one with the most passes.

        Raises InputError if there is no such record, or more than one.
        """
        by_length: dict[tuple[int, int], list[tuple[Path, Record]]] = {}
        for path in self.record_paths():
            record = read_record(path)
            by_length.setdefault((record["step"], record["estimator"]["passes"]), []).append((path, record))
        require(bool(by_length), f"{self.workdir} has no records; evaluate the run with diffenc eval, or {ADVICE}")
        step, passes = longest = max(by_length)
        several = f"{self.workdir} has several records of step {step} in {passes} passes"
        paths = ", ".join(str(path) for path, _ in by_length[longest])
        require(len(by_length[longest]) == 1, f"{several}; give one of {paths}")
        return by_length[longest][0]

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """The evaluations with a record and its values, by step and name, without those that are `unreadable`."""
        evaluations = []
        for path in self.record_paths():
            with noting(self._unreadable):
                evaluations.append(read_evaluation(path))
        return sorted(evaluations, key=lambda one: (one.record["step"], one.path.name))

    @cached_property
    def metrics(self) -> list[Row]:
        """Rows of metrics.jsonl; none if it is `unreadable`."""
        rows: list[Row] = []
        with noting(self._unreadable):
            rows = read_metrics(self.workdir)
        return rows

    @property
    def unreadable(self) -> list[str]:
        """A line for each file of `evaluations` and `metrics` that cannot be read."""
        _ = self.evaluations, self.metrics
        return self._unreadable

    @property
    def step(self) -> int:
        """The last evaluated step, or else the last logged one."""
        steps = [one.record["step"] for one in self.evaluations] or [int(row["step"]) for row in self.metrics]
        return max(steps, default=0)

    @property
    def newest(self) -> list[Evaluation]:
        """The evaluations of `step`."""
        return [one for one in self.evaluations if one.record["step"] == self.step]

    @property
    def title(self) -> str:
        """'vdm, seed 0'."""
        return f"{self.config.arm}, seed {self.config.seed}"


def runs_in(root: Path) -> list[StoredRun]:
    """The runs in the folders of `root`, sorted; none if there is no such folder."""
    return [run for run in map(StoredRun, files.list_paths(root, "*")) if run.exists]

"""Studies: measurements of trained runs, with their commands, files, functions and sections of the report.

A study is a class with a name, the dataclass of its arguments, a measurement, and the dataclass of its result with
tables, a sentence and figures. The following are derived from these: its command, its files in a workdir and the
methods that read them (this module), its function in Python (`studies.measure`) and its section of the report.

A module that declares a study imports JAX and numpy lazily, so that its help and the report start fast.
"""

import dataclasses
import inspect
import json
import re
from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, get_type_hints

from etils import epy

from diffenc_jax.commands import options
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.core.errors import refusing, require
from diffenc_jax.core.keys import Keyed
from diffenc_jax.lab.figures.charts import Board, Chart, draw

with epy.lazy_imports():  # help and the report need none of them
    from diffenc_jax import api
    from diffenc_jax.core import terminal, versions
    from diffenc_jax.lab.figures import style
    from diffenc_jax.lab.studies import sweep
    from diffenc_jax.runs import files, stored

if TYPE_CHECKING:
    from numpy import ndarray as Array

    from diffenc_jax.api import TrainedRun
    from diffenc_jax.config import Config
else:
    Config = TrainedRun = Any  # types of arguments, whose modules import JAX

    class Array:
        """Type of a result's array fields: they are stored in a .npz file, and all other fields in JSON."""


class Result(Protocol):
    """A result of a study, a dataclass."""

    def tables(self) -> list[Table]:
        """The tables of the result; their captions do not name the run."""

    def sentence(self) -> str:
        """The summary of the result in one line."""


A = TypeVar("A", bound=Keyed)
R = TypeVar("R", bound=Result)
# (text, sum of all parts) -> context manager whose value is called after every part, by default 1.
Watch = Callable[[str, float], AbstractContextManager[Callable[..., None]]]
UNWATCHED: Watch = lambda text, total: nullcontext(lambda part=1: None)  # noqa: E731
# Rows of a table by column, as JSON has them.
Rows = list[dict[str, Any]]
# Keys that every study of a trained run reads: where its images are, how many at a time, which ones, on which devices.
EVERY_STUDY = ("checkpoint.other_parts", "data.dir", "data.source", "eval.batch_size", "eval.split", "mesh")
ADVICE = "run the study again"
# The last paragraph of a command's help.
FILES = """\
Writes to RUN/{name}, each name after '<split>-<step>': .json, the result unrounded and what it was measured on; .npz,
its arrays, if there are any; and its figures as .png and .pdf. They replace those of an earlier call.
Several runs are measured one after the other, on the same images{together}."""
TOGETHER = ", and drawn into one figure, '<split>-<step>-compared' in the folder of the first"


@dataclass(frozen=True)
class Measured(Generic[R]):
    """A result with the run, images and settings of the measurement; the content of the result's file.

    Attributes:
      study: name of the study.
      name: name of the run among the runs that are shown together; in the file, the arm.
      step, seed, arm: step, seed and arm of the run.
      dataset: fingerprint of the images.
      arguments: the study's arguments by name.
      changes: changes of the run's configuration for the study, by key.
      software: versions by name.
      result: the result.
    """

    study: str
    name: str
    step: int
    seed: int
    arm: str
    dataset: dict[str, Any]
    arguments: dict[str, Any]
    changes: dict[str, Any]
    software: dict[str, str]
    result: R

    @property
    def data(self) -> str:
        """'digits (test), step 1500'."""
        return f"{Path(self.dataset['name']).name} ({self.dataset['split']}), step {self.step}"

    @property
    def title(self) -> str:
        """'vdm on digits (test), step 1500'."""
        return f"{self.name} on {self.data}"

    def sentence(self) -> str:
        """The result's sentence about the run."""
        return f"{self.title}: {self.result.sentence()}"


class Study(ABC, Generic[A, R]):
    """Base class of studies. A study is a command, with the attributes that `__main__` lists.

    The docstring of a study is the help of its command.

    Attributes:
      name: name of the command, and of the folder of the study's files in a workdir.
      title: title of the study's section of the report.
      arguments: frozen dataclass, a `Keyed`, whose keys are options of the command.
      result: dataclass of JSON values and `Array`s, with `tables()` and `sentence()`.
      reads: sections and keys of the configuration that --config.key=value may change.
      together: whether figures and tables show several runs side by side.
      EXAMPLE, ON_INTERRUPT: as those of a command's module.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    arguments: type[A]
    result: type[R]
    reads: ClassVar[tuple[str, ...]] = EVERY_STUDY
    together: ClassVar[bool] = False
    EXAMPLE: ClassVar[str]
    ON_INTERRUPT: ClassVar[str] = "nothing is written; the same command starts again"

    def __init__(self) -> None:
        written = FILES.format(name=self.name, together=TOGETHER if self.together else "")
        self.__doc__ = f"{inspect.getdoc(type(self))}\n\n{written}"

    @abstractmethod
    def measure(self, run: TrainedRun, arguments: A, watch: Watch) -> R:
        """The result for a run that `open` returned."""

    def figures(self, shown: Sequence[Measured[R]]) -> dict[str, Chart | Board]:
        """Figures by suffix of the file name: of one run, or of several runs if `together`."""
        return {}

    def tables(self, shown: Sequence[Measured[R]]) -> list[Table]:
        """The tables of results; if `together`, common tables with a column of names."""
        named = [(one, one.result.tables()) for one in shown]
        if not self.together:
            return [table._replace(caption=f"{one.title}: {table.caption}") for one, own in named for table in own]
        tables = []
        for number, first in enumerate(named[0][1]):
            rows = [[one.name, *row] for one, own in named for row in own[number].rows]
            caption = f"{self.title_of(shown)}: {first.caption}"
            tables.append(Table(["run", *first.heads], rows, caption, first.unit))
        return tables

    def title_of(self, shown: Sequence[Measured[R]]) -> str:
        """The title of figures: the run and its images, or the images of several runs `together`."""
        return "; ".join(sorted({one.data if self.together else one.title for one in shown}))

    def applies(self, config: Config) -> bool:
        """Whether the study can measure a run with this configuration."""
        return True

    def changes(self, stored: Config, given: dict[str, Any], arguments: A) -> dict[str, Any]:
        """Changes of the stored configuration: the given changes, and the changes of the study itself."""
        return given

    def subject(self, workdir: Path, arguments: A, given: dict[str, Any], plugins: Collection[str] = ()) -> TrainedRun:
        """The run to measure, with the changed configuration; raises InputError if the study cannot measure it.

        The `plugins` are packages whose parts the run may name.
        """
        trained = stored.StoredRun(workdir)
        config = trained.config.allowing(plugins)
        run = api.open(trained, config=config.replace(self.changes(config, given, arguments)))
        sweep.split_images(run)
        self.check(run)
        return run

    def check(self, run: TrainedRun) -> None:
        """Raises InputError for a run that cannot be measured."""

    def measured(self, run: TrainedRun, arguments: A, given: Mapping[str, Any], watch: Watch) -> Measured[R]:
        """The result of a run, with the settings of the measurement."""
        config, values = run.config, json.loads(json.dumps(vars(arguments)))
        data = run.dataset.split(config.eval.split).fingerprint
        about = self.name, config.arm, run.checkpoint, config.seed, config.arm, data
        return Measured(*about, values, dict(given), versions.software(), self.measure(run, arguments, watch))

    def path(self, workdir: Path, measured: Measured[R]) -> Path:
        """The path of a result's files without suffixes. If the name contains the split, the step follows it."""
        return workdir / self.name / f"{measured.dataset['split']}-{measured.step}"

    def write(self, path: Path, measured: Measured[R]) -> list[Path]:
        """Write a result and its figures as `path`.json, .npz, .png, .pdf; returns the files.

        Files of an earlier result are replaced. Raises InputError if they cannot be written.
        """
        content, arrays = self.content(measured)
        written = [path.with_name(f"{path.name}{kind}") for kind in (".json", *([".npz"] if arrays else []))]
        with files.writing(path.parent, files.MAKE_WRITABLE):
            if arrays:
                content["arrays_sha256"] = files.write_arrays(written[1], **arrays)
            files.write_json(written[0], content)
        return [*written, *self.draw(path, [measured])]

    def draw(self, path: Path, shown: Sequence[Measured[R]]) -> list[Path]:
        """Write the figures of results as `path`.png, `path`-NAME.png and so on; returns the files."""
        written, title = [], self.title_of(shown)
        with files.writing(path.parent, files.MAKE_WRITABLE):
            for ending, figure in self.figures(shown).items():
                name = f"{path.name}-{ending}" if ending else path.name
                written += style.save_figure(draw(figure, title), path.with_name(name))
        return written

    def content(self, measured: Measured[R]) -> tuple[dict[str, Any], dict[str, Array]]:
        """The JSON value of a result, and its arrays by name."""
        content = dataclasses.asdict(measured)
        return content, {name: content["result"].pop(name) for name in self._arrays()}

    def newest(self, workdir: Path, split: str) -> Path | None:
        """The file of the result of the last step in a workdir, preferably of `split`; None if there is none."""
        paths = files.list_paths(workdir / self.name, "*.json")
        named = [(match, path) for path in paths if (match := re.match(r"(?:([a-z]\w*)-)?(\d+)", path.stem))]
        return max(((m[1] == split, int(m[2]), path) for m, path in named), default=(None,))[-1]

    def read(self, path: Path) -> Measured[R]:
        """The result in the file at `path`; raises InputError if it is damaged, or not a result of this study."""
        content, arrays = files.read_json(path, ADVICE), {}
        with refusing(f"{path}, a result of {self.name}, is damaged", ADVICE):  # by somebody who changed it
            result, digest = content.pop("result"), content.pop("arrays_sha256", None)
            if self._arrays():
                data = files.read_bytes(path.with_suffix(".npz"), ADVICE)
                require(files.sha256_of(data) == digest, f"{path} does not belong to the arrays beside it; {ADVICE}")
                arrays = files.read_arrays(data) or {}
            measured: Measured[R] = Measured(**content, result=self.result(**result, **arrays))
            list(map(markdown, self.tables([measured]))), measured.sentence()
        return measured

    def _arrays(self) -> list[str]:
        """Names of the result's fields that are arrays."""
        return [name for name, kind in get_type_hints(self.result).items() if kind is Array]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the arguments of the command: its options are the fields of the study's arguments."""
        parser.add_argument("runs", type=options.location, nargs="+", metavar="RUN", help="folder of a trained run")
        options.add_keys(parser, self.arguments)
        options.add_json(parser, "the results, a list with one per run")
        options.add_changes(parser, *self.reads)

    def run(self, arguments: Namespace) -> None:
        """Measure the runs, and write and print their results."""
        given, console = options.changes_of(arguments), terminal.make_console()
        values, file = options.values_of(arguments, self.arguments), options.writable_file("json", arguments.json)
        runs = [self.subject(workdir, values, given, arguments.plugins) for workdir in arguments.runs]
        common_images(runs)
        for run in runs:
            files.check_writable(run.workdir / self.name)
        shown = []
        for name, run in zip(shortest_names(runs, [run.checkpoint for run in runs]), runs, strict=True):
            watch = lambda text, total, name=name: options.watched(console, f"{name}: {text}", total)  # noqa: E731
            measured = dataclasses.replace(self.measured(run, values, given, watch), name=name)
            shown.append(measured)
            written = self.write(self.path(run.workdir, measured), measured)
            for table in self.tables([measured]):
                terminal.print_document(table, console)
            _print_names(written)
            print(measured.sentence(), flush=True)
        if self.together and len(runs) > 1:
            path = self.path(runs[0].workdir, shown[0])
            _print_names(self.draw(path.with_name(f"{path.name}-compared"), shown))
        if file is not None:
            files.write_json(file, [self.content(measured)[0] for measured in shown])
        arguments.wrote_to = [run.workdir for run in runs]


def _print_names(written: Sequence[Path]) -> None:
    print(f"written to {written[0].parent}: {', '.join(path.name for path in written)}")


def common_images(runs: Sequence[TrainedRun]) -> None:
    """Raise InputError unless all runs evaluate on the same images."""
    images = [(run.dataset.split(run.config.eval.split).fingerprint, run.workdir) for run in runs]
    first, *others = [(entry["split"], entry["sha256"], workdir) for entry, workdir in images]
    for other in others:
        names = f"{first[2]} and {other[2]} evaluate on different images ({first[0]}, {other[0]})"
        require(first[:2] == other[:2], f"{names}; give runs of the same images, or one --config.eval.split for all")


def shortest_names(runs: Sequence[Any], steps: Sequence[int]) -> list[str]:
    """The shortest names that distinguish the runs: arms, with seeds or steps if necessary; otherwise workdirs.

    Args:
      runs: objects with `config` (`arm`, `seed`) and `workdir`.
      steps: their steps.
    """
    arms = [run.config.arm for run in runs]
    seeds = [f"{run.config.arm}, seed {run.config.seed}" for run in runs]
    at_steps = [f"{run.config.arm}, step {step}" for run, step in zip(runs, steps, strict=True)]
    paths = [str(run.workdir) for run in runs]
    return next(names for names in (arms, seeds, at_steps, paths) if len(set(names)) == len(runs) or names is paths)

"""The command of a study: its options are the fields of the study's arguments."""

import dataclasses
import inspect
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from diffenc_jax.commands.arguments import (
    add_changes,
    add_json,
    add_keys,
    changes_of,
    location,
    values_of,
    watched,
    writable_file,
)
from diffenc_jax.lab.studies import load
from diffenc_jax.lab.studies.study import common_images, shortest_names

FILES = """\
Writes to RUN/{name}, each name after '<split>-<step>': .json, the result unrounded and what it was measured on; .npz,
its arrays, if there are any; and its figures as .png and .pdf. They replace those of an earlier call.
Several runs are measured one after the other, on the same images{together}."""
TOGETHER = ", and drawn into one figure, '<split>-<step>-compared' in the folder of the first"


class StudyCommand:
    """The command of the study of this name, with the attributes that `__main__` expects of a command's module."""

    def __init__(self, name: str):
        self.study = load(name)
        files = FILES.format(name=name, together=TOGETHER if self.study.together else "")
        self.__doc__ = f"{inspect.getdoc(type(self.study))}\n\n{files}"
        self.EXAMPLE, self.ON_INTERRUPT = self.study.example, self.study.on_interrupt

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("runs", type=location, nargs="+", metavar="RUN", help="folder of a trained run")
        add_keys(parser, self.study.arguments)
        add_json(parser, "the results, a list with one per run")
        add_changes(parser, *self.study.reads)

    def run(self, arguments: Namespace) -> None:
        from diffenc_jax.core.terminal import make_console, print_document
        from diffenc_jax.runs.files import check_writable, write_json

        study, given, console = self.study, changes_of(arguments), make_console()
        options, file = values_of(arguments, study.arguments), writable_file("json", arguments.json)
        runs = [study.open(workdir, options, given, arguments.plugins) for workdir in arguments.runs]
        common_images(runs)
        for run in runs:
            check_writable(run.workdir / study.name)
        shown = []
        for name, run in zip(shortest_names(runs, [run.checkpoint for run in runs]), runs, strict=True):
            watch = lambda text, total, name=name: watched(console, f"{name}: {text}", total)  # noqa: E731
            measured = dataclasses.replace(study.measured(run, options, given, watch), name=name)
            shown.append(measured)
            written = study.write(study.path(run.workdir, measured), measured)
            for table in study.tables([measured]):
                print_document(table, console)
            self._print(written)
            print(measured.sentence(), flush=True)
        if study.together and len(runs) > 1:
            path = study.path(runs[0].workdir, shown[0])
            self._print(study.draw(path.with_name(f"{path.name}-compared"), shown))
        if file is not None:
            write_json(file, [study.content(measured)[0] for measured in shown])
        arguments.wrote_to = [run.workdir for run in runs]

    def _print(self, files: Sequence[Path]) -> None:
        print(f"written to {files[0].parent}: {', '.join(path.name for path in files)}")

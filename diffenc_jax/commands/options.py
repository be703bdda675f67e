"""Arguments that several commands share, and the parser that reads them."""

import argparse
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from etils import epy

from diffenc_jax.core import parts
from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.errors import InputError, require, suggestion
from diffenc_jax.core.keys import Keyed, keys_of

with epy.lazy_imports():  # help needs none of them
    from diffenc_jax.config import load
    from diffenc_jax.core import progress
    from diffenc_jax.parallel import shutdown
    from diffenc_jax.runs import files, workdir
    from diffenc_jax.train import flops

if TYPE_CHECKING:
    from rich.console import Console

    from diffenc_jax.config import Config

OVERRIDE = "--config."
MOST = 2**31 - 1
HEAD = 1024  # first bytes of a file, which hold the mark of the command that wrote it


class Parser(argparse.ArgumentParser):
    """Parser that raises InputError, one line, where argparse would print the usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that keeps paragraphs and the example, and states the defaults of options."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        fill = partial(textwrap.fill, width=width, break_on_hyphens=False)
        return "\n\n".join(part if part.startswith("example:") else fill(part) for part in paragraphs)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        has_none = action.default in (None, [], False, argparse.SUPPRESS) or action.required or "(default" in text
        return text if has_none else f"{text} (default: %(default)s)"


def make_parser(command: Any, prog: str) -> Parser:
    """Parser of a command's arguments. Its help shows the command's docstring, options and EXAMPLE."""
    example = "\n".join(f"  {line}" for line in command.EXAMPLE.splitlines())
    parser = Parser(
        prog=prog,
        description=inspect.cleandoc(command.__doc__ or ""),
        epilog=f"example:\n{example}",
        formatter_class=_Help,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    parser.set_defaults(wrote_to=[])
    return parser


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments in `argv`; `overrides` lists the "key=value" of each --config.key=value.

    Raises InputError for an argument that is unknown, missing or malformed, and SystemExit once help is printed.
    """
    takes_overrides = parser.get_default("overrides") is not None
    rest, overrides = _split_overrides(argv) if takes_overrides else (argv, [])
    arguments, unknown = parser.parse_known_args(rest)
    if unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        parser.error(f"unrecognized arguments: {unknown[0]}{suggestion(unknown[0].partition('=')[0], options)}")
    if getattr(arguments, "data", None):
        overrides.append(f"data.source={arguments.data}")
    arguments.overrides = overrides
    return arguments


def _split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are no overrides, and the overrides as "key=value"."""
    rest, overrides = [], []
    words = iter(argv)
    for word in words:
        if not word.startswith(OVERRIDE):
            rest.append(word)
            continue
        if "=" not in word:
            value = next(words, "--")
            require(not value.startswith("--"), f"{word} has no value; give {word}=VALUE")
            word = f"{word}={value}"
        overrides.append(word.removeprefix(OVERRIDE))
    return rest, overrides


def location(text: str) -> Path:
    """Argument type: a file or a folder, on disk or gs://BUCKET/..., which need not exist."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; name a file or a folder")
    try:
        return as_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
    """Argument type: a whole number above zero, of 31 bits."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero, of at most {MOST}")
    return int(text)


def positive_number(text: str) -> float:
    """Argument type: a finite number above zero."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def add_config(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add --config, and --config.key=value for each key that is to differ from it."""
    about = "--config.key=value changes a key, such as --config.seed=1; `diffenc config-keys` lists all"
    group = parser.add_argument_group("configuration", about)
    text = "installed configuration, such as cifar10:vdm, or a file, such as configs/digits.py:vdm"
    group.add_argument("--config", required=required, metavar="NAME[:ARM]", help=text)
    parser.set_defaults(overrides=[])


def add_changes(parser: argparse.ArgumentParser, *read: str) -> None:
    """Add --config.key=value, for the sections and keys `read` of a trained run's configuration."""
    about = f"--config.key=value changes a key of the run's configuration: {', '.join(read)}"
    parser.add_argument_group("configuration", about)
    parser.set_defaults(overrides=[], read=read)
    add_plugins(parser)


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """Add --plugins, the packages whose parts a stored configuration may name."""
    text = "packages whose parts the run's configuration may name, besides those that announce their parts"
    place = "where the data of the run are, if they are elsewhere than in its training; their digests are compared"
    parser.add_argument("--data", metavar="PATH", help=place)
    parser.add_argument("--plugins", type=_names, default=[], metavar="PACKAGE,...", help=text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def add_keys(parser: argparse.ArgumentParser, keyed: type[Keyed]) -> None:
    """Add an option for each key of a class."""
    for name, key in keys_of(keyed).items():
        default = ",".join(map(str, key.default)) if isinstance(key.default, tuple) else str(key.default)
        meaning = f"{key.doc.rstrip('.')} (default: {key.none if key.default is None else default})"
        parser.add_argument(_flag(name), default=default, help=meaning)


def values_of(arguments: argparse.Namespace, keyed: type[Any]) -> Any:
    """An object of the class, from the options of `add_keys`; raises InputError for a value that is not allowed."""
    texts = vars(arguments)
    return keyed(**{name: key.checked(_flag(name), key.read(texts[name])) for name, key in keys_of(keyed).items()})


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def changes_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Changes by key, from the options of `add_changes`; raises InputError for keys that the command does not read.

    A command that names no keys reads all.
    """
    changes = parts.allowed(load.read_changes(arguments.overrides))
    for key in changes:
        is_read = not arguments.read or any(key == name or key.startswith(f"{name}.") for name in arguments.read)
        require(is_read, f"--config.{key} is not read by this command; it reads {', '.join(arguments.read)}")
    return changes


def load_arguments_config(arguments: argparse.Namespace) -> "Config":
    """The configuration that --config and its overrides describe; raises InputError if there is none."""
    return flops.load_config(arguments.config, arguments.overrides)


def add_workdir(parser: argparse.ArgumentParser) -> None:
    """Add --workdir, the folder of a run."""
    text = "folder of the run (default: runs/NAME-ARM-seed<seed>, followed by the keys that differ from NAME:ARM)"
    parser.add_argument("--workdir", type=location, metavar="DIR", help=text)


def workdir_of(arguments: argparse.Namespace, config: "Config") -> Path:
    """The folder that --workdir names, or the default one of `config`."""
    if arguments.workdir is not None:
        return arguments.workdir
    return workdir.default_workdir(config, load.load_config(arguments.config))


def add_json(parser: argparse.ArgumentParser, content: str) -> None:
    """Add --json, a file for `content`, which `writable_file` checks."""
    text = f"file for {content}, unrounded; replaced if it exists (default: not written)"
    parser.add_argument("--json", metavar="FILE", help=text)


def writable_file(flag: str, name: str | None, mark: bytes = b"") -> Path | None:
    """Path of the file `name` that --`flag` gives; None without a name. Its folder is created.

    Raises InputError if the file cannot be written, belongs to a run, or exists without `mark` in its first bytes.
    """
    if name is None:
        return None
    require(bool(name.strip()), f"--{flag} is empty; name a file")
    path = as_path(name)
    require(not files.is_folder(path), f"--{flag}={name} is a folder; name a file")
    workdir.check_not_of_run(path)
    head = files.read_if_present(path, "name another file")[:HEAD]
    require(not head or mark in head, f"--{flag}={name} exists, and this command did not write it; name another file")
    files.check_writable(path.parent, "name another file")
    return path


@contextmanager
def watched(console: "Console", text: str, total: float) -> Iterator[Callable[..., None]]:
    """Progress of work, and a check for signals after each part of it.

    Args:
      console: where the progress is shown.
      text: description of the work.
      total: the sum of all parts.

    Yields:
      `on_part(part=1)`: notes that `part` of `total` is done; raises Interrupted if a signal came.
    """
    display = progress.Display(console, transient=True)
    with shutdown.shutdown_of_run() as signals, display as bars, bars.task(text, total) as advance:
        yield signals.checking(advance)

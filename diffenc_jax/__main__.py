"""The command `diffenc`, also `python -m diffenc_jax`: the table of commands, and the meaning of exit codes.

A command is a module, and a part of the kind "command". Parts of another kind may be commands as well: the class
`Kind.command` makes an object of a part. A module or such an object has:
  a docstring: what the command does and writes; the text of its --help,
  EXAMPLE: a command line,
  add_arguments(parser): its arguments,
  run(arguments) -> exit code, None for 0; it sets `arguments.wrote_to` to the workdirs that it wrote to, in which the
    command line is then noted,
  ON_INTERRUPT, optional: what is kept after Ctrl-C, for the last line on standard error.

Exit codes: 0 success, 1 a failed run, 2 bad input, 75 a run that another process works on, 128 + n after signal n.
A command goes on when its output cannot be written, and its exit code does not change if the reader is gone, as in
`| head`. The exit code is 1 if a command without results in a workdir cannot print because a disk is full.
"""

import importlib
import logging
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from etils import epy

from diffenc_jax.commands.arguments import make_parser, parse
from diffenc_jax.core import output, parts, runtime
from diffenc_jax.core.errors import InputError, Interrupted, RunError, reason, require, suggestion
from diffenc_jax.core.text import printable

with epy.lazy_imports():  # help needs none of them
    import absl.logging

    from diffenc_jax.core import versions
    from diffenc_jax.parallel import hosts, memory, sharding
    from diffenc_jax.runs import history

COMMAND_KINDS = ("command", *(name for name, kind in parts.kinds().items() if kind.command))
COMMANDS = {name: (kind, entry) for kind in COMMAND_KINDS for name, entry in parts.own(kind).items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `diffenc` with the arguments `argv`, by default the process's own; returns the exit code."""
    if argv is None:
        output.go_on_without_output()
    words = sys.argv[1:] if argv is None else list(argv)
    match words[:1]:
        case [] | ["--help"] | ["-h"]:
            print(_listing())
            return _code_of_output()
        case ["--version"]:
            print(f"{versions.OURS} {versions.package_version()}")
            return _code_of_output()
    name, *rest = words
    try:
        command, computes = command_of(name), argv is None and _entry(name)[1].computes
    except InputError as error:
        return _fail(str(error), error.exit_code)
    return execute(command, f"diffenc {name}", rest, computes)


def commands() -> dict[str, tuple[str, parts.Entry]]:
    """The kind and the entry of all commands by name, those of this package first."""
    return COMMANDS | {name: (kind, entry) for kind in COMMAND_KINDS for name, entry in parts.entries(kind).items()}


def _entry(name: str) -> tuple[str, parts.Entry]:
    """The kind and the entry of a command; other packages are read only for a name that this package lacks.

    Raises InputError for an unknown command.
    """
    known = COMMANDS if name in COMMANDS else commands()
    require(name in known, f"unknown command {name!r}{suggestion(name, known)}; known: {', '.join(known)}")
    return known[name]


def command_of(name: str) -> Any:
    """The module of a command, or an object with the same attributes.

    Raises InputError if the command is unknown, or cannot be imported from another package.
    """
    kind, entry = _entry(name)
    with parts.trying([] if name in COMMANDS else [f"the command {name}"]):
        if kind == "command":
            return importlib.import_module(entry.target)
        return resolve_name(parts.kinds()[kind].command)(name)


def execute(command: Any, prog: str, argv: Sequence[str], computes: bool = False) -> int:
    """Run one command; returns its exit code.

    Args:
      command: module of the command, or an object with its attributes.
      prog: how the user calls it.
      argv: its arguments.
      computes: whether the command trains or evaluates networks. The process then restarts with huge pages, see
        `core.runtime`.
    """
    output.escape_what_has_no_code()
    arguments = None
    try:
        arguments = parse(make_parser(command, prog), argv)
        if computes:
            runtime.prepare()
        _silence_libraries()
        with runtime.interruptible():
            code = command.run(arguments) or 0
        for folder in arguments.wrote_to if code == 0 else ():
            _note(folder, shlex.join([*prog.split(), *argv]))
        return code or (0 if arguments.wrote_to else _code_of_output())
    except SystemExit as stop:
        return _code_of_output() if arguments is None else _fail(_ended_by(stop), 2)  # argparse has printed the help
    except (Interrupted, KeyboardInterrupt) as stop:
        print("; ".join(["interrupted", *filter(None, [getattr(command, "ON_INTERRUPT", "")])]), file=sys.stderr)
        return 128 + (stop.args or [signal.SIGINT])[0]
    except Exception as error:
        if (failure := _failure(error)) is None:
            raise
        return _fail(*failure)
    finally:
        if computes:  # a signal while JAX cleans up ends the process
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _failure(error: Exception) -> tuple[str, int] | None:
    """Message and exit code of a command that an error ends; None if the error is shown with its traceback.

    If the run has lost another process, this one ends here.
    """
    match error:
        case InputError() | RunError():
            return str(error), error.exit_code
        case OSError() if error.filename is not None:  # such as a full disk
            return f"{error.filename}: {reason(error)}", 1
        case MemoryError():
            return f"out of memory on this machine: {error}; lower its batch size", 1
        case RuntimeError() | AssertionError():
            if missing := sharding.missing_platform():
                return missing, 2
            if memory.is_out_of_memory(error):
                why = memory.does_not_fit("this command", memory.needed_bytes(error), "lower its batch size")
                return str(why), 1
            hosts.end_if_alone(error)
    return None


def _listing() -> str:
    listed = commands()
    width = max(map(len, listed)) + 2
    lines = [f"  {name:<{width}}{entry.summary or entry.target}" for name, (_, entry) in listed.items()]
    head = "usage: diffenc COMMAND [arguments]\n\nLikelihood training of diffusion models. Commands:"
    end = "\n`diffenc COMMAND --help` explains a command, `diffenc --version` prints the version."
    return "\n".join([head, *lines, end])


def _note(folder: Path, line: str) -> None:
    """Note the line of a finished command in a folder, or warn that it cannot be written there."""
    try:
        history.note_command(folder, line)
    except (OSError, InputError) as error:
        print(printable(f"warning: this command cannot be noted in {folder}: {reason(error)}"), file=sys.stderr)


def _code_of_output() -> int:
    """Exit code of a command whose only result is what it printed."""
    lost = output.lost_output()
    return _fail(f"standard output: {lost}", 1) if lost else 0


def _fail(message: str, code: int) -> int:
    print(f"error: {printable(message)}", file=sys.stderr)
    return code


def _ended_by(stop: SystemExit) -> str:
    """Message that a part called sys.exit(), and where; the package itself never does in a command."""
    frames = [frame for frame in traceback.extract_tb(stop.__traceback__) if not frame.filename.startswith("<")]
    place = f"{frames[-1].filename}, line {frames[-1].lineno},"
    return f"{place} ends the program by {stop!r}; a part must raise an error instead, see docs/extending.md"


def _silence_libraries() -> None:
    """Silence the logs of absl, TensorStore and asyncio; the commands print whatever matters to the user."""
    absl.logging.set_verbosity(absl.logging.FATAL)
    output.mend_unraisable()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())

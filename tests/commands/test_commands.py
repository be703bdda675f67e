"""The table of commands: listing, help, version, and exit codes."""

import os
import signal
import subprocess
import sys
import time
from types import ModuleType, SimpleNamespace

import jax
import pytest

from diffenc_jax.__main__ import COMMANDS, command_of, execute, main
from diffenc_jax.commands.options import add_config, make_parser
from diffenc_jax.core.errors import InputError, Interrupted, RunError
from diffenc_jax.core.output import mend_unraisable
from diffenc_jax.core.versions import package_version
from diffenc_jax.parallel import memory
from tests import ROOT
from tests.processes import python
from tests.refusals import refused

FULL = "No space left on device"


def test_listing_names_every_command_once(capsys):
    for argv in ([], ["--help"], ["-h"]):
        assert main(argv) == 0
        lines = capsys.readouterr().out.splitlines()
        listed = [line.split()[0] for line in lines if line.startswith("  ")]
        assert listed == list(COMMANDS)


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"diffenc_jax {package_version()}\n"


def test_unknown_command_lists_the_known_ones(capsys):
    for argv in (["fly"], ["--fly"], ["fly", "--help"]):
        assert "known: train, eval, sample, prepare-data, config-keys, compress" in refused(main, argv, capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_and_explains_every_option(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    command = command_of(name)
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: diffenc {name} ")
    assert " ".join(command.__doc__.split()) in " ".join(text.split())
    assert f"  diffenc {name} " in text.partition("example:\n")[2]
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert all(action.help for action in make_parser(command, name)._actions)


def command(does, **attributes):
    """A command with an option, a switch and a configuration, which calls `does` with its arguments."""

    def add_arguments(parser):
        parser.add_argument("--count", type=int, default=3, help="how many")
        parser.add_argument("--fast", action="store_true", help="how fast")
        parser.add_argument("file", nargs="?", help="a file")
        add_config(parser)

    module = ModuleType("command", "Do something.")
    vars(module).update(EXAMPLE="diffenc do this", add_arguments=add_arguments, run=does, **attributes)
    return module


def raising(error):
    def run(arguments):
        raise error

    return run


OUT_OF_MEMORY = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 140342230816 bytes.\nat 1")
NEEDED = "this command needs at least 130.70 GiB, and 16.00 GiB are available"


ENDINGS = [
    (lambda arguments: None, 0, ""),
    (lambda arguments: 1, 1, ""),
    (raising(InputError("x is wrong")), 2, "error: x is wrong\n"),
    (raising(RunError("x has failed")), 1, "error: x has failed\n"),
    (raising(OSError(28, FULL, "/x")), 1, f"error: /x: {FULL} (free some space)\n"),
    (raising(MemoryError("2 PiB")), 1, "error: out of memory on this machine: 2 PiB; lower its batch size\n"),
    (raising(OUT_OF_MEMORY), 1, f"error: out of memory: {NEEDED}; lower its batch size\n"),
    (raising(KeyboardInterrupt()), 128 + signal.SIGINT, "interrupted; all is kept\n"),
    (raising(Interrupted(signal.SIGTERM)), 128 + signal.SIGTERM, "interrupted; all is kept\n"),
]


@pytest.mark.parametrize(("run", "code", "message"), ENDINGS)
def test_a_command_exits_by_how_it_ends(run, code, message, monkeypatch, capsys):
    monkeypatch.setattr(memory, "device_memory", lambda: 2**34)
    assert execute(command(run, ON_INTERRUPT="all is kept"), "do", ["--config=x"]) == code
    assert capsys.readouterr() == ("", message)


class Callback:
    """An object in whose deletion a signal arrives, where Python drops exceptions."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, None])
def test_a_signal_ends_a_command_also_in_a_callback(number, capsys):
    def run(arguments):
        if number:
            os.kill(os.getpid(), number)
        else:
            Callback()
        time.sleep(10)

    assert execute(command(run), "do", ["--config=x"]) == 128 + (number or signal.SIGINT)
    assert capsys.readouterr().err == "interrupted\n"


def test_late_answers_are_not_shown_after_the_command_either(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    execute(command(lambda arguments: mend_unraisable()), "do", ["--config=x"])
    sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError("Event loop is closed"), object=None))
    assert shown == []


def test_a_part_that_ends_the_program_is_named(capsys):
    error = refused(lambda argv: execute(command(raising(SystemExit())), "do", argv), ["--config=x"], capsys)
    assert f"error: {__file__}, line " in error
    assert "ends the program by SystemExit(); a part must raise an error instead" in error


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError("no file's name"), RuntimeError("a bug")])
def test_other_errors_keep_their_traceback(error):
    with pytest.raises(type(error)):
        execute(command(raising(error)), "do", ["--config=x"])


def test_work_that_cannot_be_noted_is_done(tmp_path, capsys):
    (tmp_path / "commands.txt").mkdir()

    def run(arguments):
        print("the result")
        arguments.wrote_to = [tmp_path]

    assert execute(command(run), "do", ["--config=x"]) == 0
    warning = f"warning: this command cannot be noted in {tmp_path}: {tmp_path}/commands.txt cannot be read: "
    said = capsys.readouterr()
    assert said.out == "the result\n"
    assert said.err.startswith(warning)
    assert said.err.count("\n") == 1


def test_arguments_and_overrides_are_told_apart():
    given = []
    module = command(given.append)
    argv = ["--config.a.b=1", "--config", "x", "f", "--config.c", "-2", "--count=4", "--config.d=e=f"]
    assert execute(module, "do", argv) == 0
    assert execute(module, "do", ["--config=x:arm"]) == 0
    first, second = given
    assert (first.config, first.overrides, first.count, first.file) == ("x", ["a.b=1", "c=-2", "d=e=f"], 4, "f")
    assert (second.config, second.overrides, second.count, second.file) == ("x:arm", [], 3, None)


REFUSED = [
    ([], "the following arguments are required: --config; see `do --help`"),
    (["--config=x", "--config.a"], "--config.a has no value; give --config.a=VALUE"),
    (["--config=x", "--coun=1"], "unrecognized arguments: --coun=1, perhaps --count; see `do --help`"),
    (["--config=x", "--count=many"], "argument --count: invalid int value: 'many'"),
    (["--config=x", "f", "g"], "unrecognized arguments: g"),
]


@pytest.mark.parametrize(("argv", "message"), REFUSED)
def test_arguments_that_a_command_does_not_take_are_refused(argv, message, capsys):
    assert message in refused(lambda argv: execute(command(raising(AssertionError())), "do", argv), argv, capsys)


LOST = [("--help", "closed"), ("--version", "gone"), ("train --help", "full"), ("reproduce", "full")]


@pytest.mark.parametrize(("argv", "lost"), LOST)
def test_output_that_cannot_be_written(argv, lost):
    """A full disk is an error of a command that only prints; a reader that is gone, such as `head`, is none."""
    error = f"error: standard output: {FULL} (free some space)\n" if lost == "full" else ""
    assert finish(["-m", "diffenc_jax", *argv.split()], lost) == (int(lost == "full"), error)


PRINTS = """'Do something.'
import sys
from pathlib import Path
from diffenc_jax.__main__ import execute
from diffenc_jax.core import output

EXAMPLE = "do FILE"

def add_arguments(parser):
    parser.add_argument("file", type=Path, help="a file")

def run(arguments):
    with arguments.file.open("w") as file:
        for _ in range(1000):
            print("±" * 1000)
        print("an error", file=sys.stderr)
        file.write("done")
    arguments.wrote_to = [arguments.file.parent]

output.go_on_without_output()
sys.exit(execute(sys.modules["__main__"], "do", sys.argv[1:], computes=True))
"""


def finish(arguments, lost, **environment):
    """Exit code and standard error of Python, whose standard output, or with 'all' its standard error too, is lost."""
    shell = {"closed": '"$@" >&-', "all": '"$@" <&- >&- 2>&-', "full": '"$@" >/dev/full', "gone": '"$@"'}[lost]
    argv = ["sh", "-c", f"exec {shell}", "sh", sys.executable, *arguments]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(argv, cwd=ROOT, env=os.environ | environment, **pipes) as process:
        process.stdout.close()
        return process.wait(60), process.stderr.read()


@pytest.mark.parametrize("lost", ["closed", "all", "full", "gone"])
def test_a_computation_goes_on_whatever_becomes_of_its_output(tmp_path, lost):
    done = tmp_path / "done"
    error = "" if lost == "all" else "an error\n"
    assert finish(["-c", PRINTS, done], lost, PYTHONIOENCODING="utf-8") == (0, error)
    assert done.read_text() == "done"
    assert (tmp_path / "commands.txt").read_text() == f"do {done}\n"


def test_what_the_terminal_cannot_show_is_escaped(tmp_path):
    printed = python("-c", PRINTS, tmp_path / "done", PYTHONIOENCODING="ascii")
    assert (printed.stdout, printed.stderr) == ((r"\xb1" * 1000 + "\n") * 1000, "an error\n")

"""The command line that the programs of this package share: a configuration, a workdir, one-line errors."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# TensorFlow, which writes our logs and prepares data sets, is not what people want to hear from.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from absl import flags
from ml_collections import ConfigDict, config_flags

from diffenc_jax import workdir as workdirs
from diffenc_jax.config import check_plain, check_sections, flatten, require
from diffenc_jax.errors import InputError

CONFIG = config_flags.DEFINE_config_file("config", help_string="Configuration, such as configs/cifar10.py:vdm.")
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; default runs/NAME-arm-seed<seed>.")


def parse(argv: list[str], positional: tuple[str, ...] = ()) -> list[str]:
    """Parses the flags; what is wrong with them ends the process in one line.

    Args:
      argv: the program and its arguments.
      positional: names of the arguments that it must have besides flags, for the messages.

    Returns:
      The program and its positional arguments, as many as there are names.
    """
    try:
        rest = flags.FLAGS(argv)
        config = CONFIG.value
        if config is not None:
            _check(config)  # a file that could not be loaded only says so when it is used
    except Exception as error:  # noqa: BLE001  a configuration is a program and may raise anything
        fail(_unknown_key(argv) or last_line(error))
    given, wanted = len(rest) - 1, len(positional)
    if given < wanted:
        fail(f"{positional[given]} is missing; give it beside --config")
    if config is None:
        fail("--config is missing; give one such as --config=configs/digits.py")
    if given > wanted:
        fail(f"unexpected argument {rest[wanted + 1]!r}")
    return rest


def workdir() -> Path:
    """The folder that --workdir names, or the default for --config."""
    return Path(WORKDIR.value) if WORKDIR.value else workdirs.default_workdir(CONFIG.value)


def writable_file(flag: str, name: str | None) -> Path | None:
    """The file `name`, which --`flag` gives, its folder made; None where there is none.

    Raises:
      InputError: it cannot be written.
    """
    if name is None:
        return None
    path = Path(name)
    require(not path.is_dir(), f"--{flag}={name} is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InputError(f"--{flag}={name} cannot be written: {error.strerror}") from error
    return path


def fail(message: str, code: int = 2) -> None:
    """Prints one line and ends the process."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def last_line(error: Exception) -> str:
    """The error itself, without the traceback that config_flags puts before it."""
    line = (str(error).strip().splitlines() or [repr(error)])[-1]
    return line.removeprefix(f"{InputError.__module__}.{InputError.__name__}: ").strip()


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The configuration that --config=`spec` gives, with `overrides` such as 'train.steps=100'.

    Raises:
      InputError: it cannot be had, or has no such key.
    """
    argv = ["", f"--config={spec}", *(f"--config.{override}" for override in overrides)]
    try:
        return _load(argv)
    except Exception as error:
        raise InputError(_unknown_key(argv) or last_line(error)) from error


def _load(argv: list[str]) -> ConfigDict:
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    values(argv)
    _check(values.config)  # a file that could not be loaded only says so when it is used
    return values.config


def _check(config: ConfigDict) -> None:
    check_plain(config)
    check_sections(config)


def _unknown_key(argv: list[str]) -> str | None:
    """Which --config.key=value of `argv` the configuration does not have, and which it has beside it."""
    overrides = [arg.lstrip("-").removeprefix("config.") for arg in argv if arg.lstrip("-").startswith("config.")]
    try:
        known = flatten(_load([argv[0], *(arg for arg in argv if arg.lstrip("-").startswith("config="))]))
    except Exception:  # noqa: BLE001  then it is the configuration itself that cannot be read
        return None
    for key in (override.split("=")[0] for override in overrides):
        if not any(name == key or name.startswith(f"{key}.") for name in known):
            beside = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
            return f"unknown configuration key {key!r}; known: {', '.join(beside or known)}"
    return None

"""Trains, evaluates or samples.

python -m diffenc_jax.main --config=configs/digits.py[:arm] [--workdir=DIR] [--mode=train|eval|sample]
    [--config.key=value ...]
"""

import os
import signal
import sys
from pathlib import Path

# TensorFlow, which writes our logs and prepares data sets, is not what people want to hear from.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from absl import app, flags, logging
from ml_collections import config_flags

from diffenc_jax.config import flatten
from diffenc_jax.errors import InputError, Interrupted, RunError

CONFIG = config_flags.DEFINE_config_file("config", help_string="Configuration, such as configs/cifar10.py:vdm.")
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; default runs/NAME-arm-seed<seed>.")
MODE = flags.DEFINE_enum("mode", "train", ["train", "eval", "sample"], "What to do.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other hosts of a TPU slice or SLURM job.")


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; what is wrong with them ends the process in one line."""
    try:
        rest = flags.FLAGS(argv)
        config = CONFIG.value
        if config is not None:
            config.keys()  # a file that could not be loaded only says so when it is used
    except Exception as error:  # noqa: BLE001  a configuration is a program and may raise anything
        fail(_unknown_key(argv) or _last_line(error))
    if config is None:
        fail("--config is missing; give one such as --config=configs/digits.py")
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}")
    return rest


def main(_: list[str]) -> None:
    """Runs the chosen mode."""
    from diffenc_jax import modes, workdir

    logging.set_verbosity(logging.ERROR)  # what matters we say ourselves
    config = CONFIG.value
    folder = Path(WORKDIR.value) if WORKDIR.value else workdir.default_workdir(config)
    try:
        if DISTRIBUTED.value:
            _join_cluster()
        modes.MODES[MODE.value](config, folder)
    except (InputError, RunError) as error:
        fail(str(error), code=2 if isinstance(error, InputError) else 1)
    except (Interrupted, KeyboardInterrupt) as stop:
        sys.exit(128 + (stop.signal if isinstance(stop, Interrupted) else signal.SIGINT))


def _join_cluster() -> None:
    import jax

    try:
        jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"--distributed found no cluster to join: {_last_line(error)}") from error


def fail(message: str, code: int = 2) -> None:
    """Prints one line and ends the process."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _last_line(error: Exception) -> str:
    """The error itself, without the traceback that config_flags puts before it."""
    line = (str(error).strip().splitlines() or [repr(error)])[-1]
    return line.removeprefix(f"{InputError.__module__}.{InputError.__name__}: ").strip()


def _unknown_key(argv: list[str]) -> str | None:
    """Which --config.key=value of `argv` the configuration does not have, and which it has beside it."""
    overrides = [arg.lstrip("-").removeprefix("config.") for arg in argv if arg.lstrip("-").startswith("config.")]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=[])
    try:
        values([argv[0], *(arg for arg in argv if arg.lstrip("-").startswith("config="))])
        known = flatten(values.config)
    except Exception:  # noqa: BLE001  then it is the configuration itself that cannot be read
        return None
    for key in (override.split("=")[0] for override in overrides):
        if not any(name == key or name.startswith(f"{key}.") for name in known):
            beside = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
            return f"unknown configuration key {key!r}; known: {', '.join(beside or known)}"
    return None


if __name__ == "__main__":
    app.run(main, flags_parser=parse)

"""Trains, evaluates or samples.

python -m diffenc_jax.main --config=configs/digits.py[:arm] [--workdir=DIR] [--mode=train|eval|sample]
    [--config.key=value ...]
"""

import os
import sys
from pathlib import Path

# TensorFlow, which writes our logs and prepares data sets, is not what people want to hear from.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

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
    except AttributeError:
        fail(_unknown_key(argv))
    except (OSError, flags.Error, TypeError, ValueError) as error:
        fail(_last_line(error))
    if CONFIG.value is None:
        fail("--config is missing; give one such as --config=configs/digits.py")
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}")
    return rest


def main(_: list[str]) -> None:
    """Runs the chosen mode."""
    import jax

    from diffenc_jax import modes, workdir

    logging.set_verbosity(logging.WARNING)
    config = CONFIG.value
    folder = Path(WORKDIR.value) if WORKDIR.value else workdir.default_workdir(config)
    try:
        if DISTRIBUTED.value:
            jax.distributed.initialize()
        modes.MODES[MODE.value](config, folder)
    except (InputError, RunError) as error:
        fail(str(error), code=2 if isinstance(error, InputError) else 1)
    except Interrupted as stop:
        sys.exit(128 + stop.signal)


def fail(message: str, code: int = 2) -> None:
    """Prints one line and ends the process."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _last_line(error: Exception) -> str:
    """The error itself, without the traceback that config_flags puts before it."""
    line = (str(error).strip().splitlines() or [repr(error)])[-1]
    return line.removeprefix(f"{InputError.__module__}.{InputError.__name__}: ")


def _unknown_key(argv: list[str]) -> str:
    """Which --config.key of `argv` the configuration does not have, and which it has beside it."""
    flags.FLAGS.unparse_flags()
    flags.FLAGS([arg for arg in argv if not arg.startswith(("--config.", "-config."))])
    known = flatten(CONFIG.value)
    given = [
        arg.lstrip("-").removeprefix("config.").split("=")[0] for arg in argv if arg.lstrip("-").startswith("config.")
    ]
    for key in given:
        if key not in known and not isinstance(_get(CONFIG.value, key), ConfigDict):
            section = key.rpartition(".")[0]
            while section and not isinstance(_get(CONFIG.value, section), ConfigDict):
                section = section.rpartition(".")[0]
            beside = [name for name in known if name.startswith(f"{section}." if section else "")]
            return f"unknown configuration key {key!r}; known: {', '.join(beside)}"
    return f"the configuration does not take {given}"


def _get(config: ConfigDict, key: str):
    for part in key.split("."):
        config = config.get(part) if isinstance(config, ConfigDict) else None
    return config


if __name__ == "__main__":
    app.run(main, flags_parser=parse)

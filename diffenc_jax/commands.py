"""What the commands with plain arguments share: types of arguments, and one-line errors."""

import argparse
import os
import signal
import sys
from collections.abc import Callable

# TensorFlow, which some libraries import, is not what people want to hear from.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def positive(text: str) -> int:
    """The argument type of a whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def positive_number(text: str) -> float:
    """The argument type of a number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return value


def run(body: Callable[[], None], interrupted: str) -> int:
    """Runs `body` and returns the exit code: 0, 1 for a run that cannot go on, 2 for bad input, 128 + n after signal n.

    Args:
      interrupted: what is said after Ctrl-C or SIGTERM.
    """
    from absl import logging

    from diffenc_jax.errors import InputError, Interrupted, RunError

    logging.set_verbosity(logging.ERROR)  # what matters we say ourselves
    try:
        body()
    except (InputError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return 128 + (stop.signal if isinstance(stop, Interrupted) else signal.SIGINT)
    return 0

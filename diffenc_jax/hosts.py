"""What the hosts of a run tell each other. All must call these at the same place; one alone is told nothing new.

Files of a workdir are written by the first host alone, and what was found in them is the first host's word, so that
no two hosts take different turns.
"""

import os
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from diffenc_jax.errors import first_line


def is_first() -> bool:
    """Whether this host is the one that writes files and talks."""
    return jax.process_index() == 0


def end_if_alone(error: RuntimeError) -> None:
    """Ends the process in a line if `error` says that another one of the run is gone.

    At once, since on its way out JAX and Orbax would wait for the other. If the coordinator is the one that is gone,
    JAX may be quicker, and ends the process with its own words ("another task died") and the same status, 1.
    """
    if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
        line = f"another process of this run is gone, or out of reach ({first_line(error)[:200]})"
        print(f"error: {line}; start all again, they go on from the last checkpoint", file=sys.stderr, flush=True)
        os._exit(1)


def told(content: bytes) -> bytes:
    """The first host's `content`."""
    if jax.process_count() == 1:
        return content
    size = int(multihost_utils.broadcast_one_to_all(np.int64(len(content))))
    padded = np.zeros(size, np.uint8)
    if is_first():
        padded[:] = np.frombuffer(content, np.uint8)
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8))


def largest(values: np.ndarray) -> np.ndarray:
    """The largest of the hosts' values, place by place."""
    if jax.process_count() == 1:
        return values
    return multihost_utils.process_allgather(values).max(axis=0)


def whole(array: jax.Array) -> np.ndarray:
    """All values of an array, wherever they lie."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))

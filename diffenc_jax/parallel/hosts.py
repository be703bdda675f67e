"""Communication between the hosts of a run. Every host must call these functions at the same points.

Only the first host writes a workdir's files and reports to the user. It broadcasts the contents that it reads, so that
all hosts take the same decisions. JAX is imported where it is used, because code that only reads a run's files does not
need it.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from diffenc_jax.core.errors import first_line

if TYPE_CHECKING:
    import jax

LONGEST = 256
DAY_MS = 24 * 3600 * 1000
_CALLS = itertools.count()


def is_first() -> bool:
    """Whether this host is the one that writes files and reports to the user."""
    return number() == 0


def number() -> int:
    """Number of this host, from 0."""
    import jax

    return jax.process_index()


def first_alone(act: Callable[[], Any]) -> None:
    """If there are several hosts, call `act` on the first one while the others wait, for up to a day.

    They wait by JAX's coordination service, which has no public function: collectives give up after half a minute.
    """
    import jax
    from jax._src.distributed import global_state

    client: Any = global_state.client
    if jax.process_count() == 1:
        return
    try:
        if is_first():
            act()
    finally:
        client.wait_at_barrier(f"diffenc-first-alone-{next(_CALLS)}", DAY_MS)


def end_if_alone(error: Exception) -> None:
    """End the process with a one-line message if `error` says that another process of the run is gone.

    The process ends at once, because JAX and Orbax would wait for the other one in their exit handlers. If the
    coordinator is gone, JAX may be quicker: it ends the process with its own message and the same exit status, 1.
    """
    import jax

    if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
        line = f"another process of this run is gone or out of reach ({first_line(error)[:200]})"
        print(f"error: {line}; start all processes again to resume", file=sys.stderr, flush=True)
        os._exit(1)


@contextmanager
def ending_if_alone() -> Iterator[None]:
    """Context in which an error of JAX ends the process as by `end_if_alone`."""
    try:
        yield
    except RuntimeError as error:
        end_if_alone(error)
        raise


def broadcast(content: bytes) -> bytes:
    """The first host's `content`, on every host."""
    from jax.experimental import multihost_utils

    size = int(multihost_utils.broadcast_one_to_all(np.int64(len(content))))
    padded = np.frombuffer(content, np.uint8) if is_first() else np.zeros(size, np.uint8)
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8))


def elementwise_max(values: np.ndarray) -> np.ndarray:
    """Elementwise maximum over the hosts."""
    return _of_all(values).max(axis=0)


def total(values: np.ndarray) -> np.ndarray:
    """Elementwise sum over the hosts, in the dtype of the values."""
    return _of_all(values).sum(axis=0, dtype=values.dtype)


def _of_all(values: np.ndarray) -> np.ndarray:
    """The values [hosts, ...] of all hosts, in their order."""
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(values)


def gather_text(text: str) -> list[str]:
    """The texts of all hosts, of at most `LONGEST` bytes each, in the order of the hosts."""
    padded = np.frombuffer(text.encode()[:LONGEST].ljust(LONGEST, b"\0"), np.uint8)
    return [bytes(row).rstrip(b"\0").decode() for row in _of_all(padded)]


def all_gather(array: "jax.Array") -> np.ndarray:
    """All values of a global array, on every host."""
    if array.is_fully_addressable:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))

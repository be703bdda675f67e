"""How much memory Python took."""

import tracemalloc
from contextlib import contextmanager
from types import SimpleNamespace


@contextmanager
def traced():
    """Gives what has, afterwards, the most bytes that Python held within as `peak`."""
    found = SimpleNamespace(peak=None)
    tracemalloc.start()
    try:
        yield found
    finally:
        found.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

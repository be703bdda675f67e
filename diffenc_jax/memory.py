"""How a program that trains holds its memory: in huge pages, seldom searched for garbage, nothing kept unused."""

import ctypes
import gc
import os
import sys

TUNABLES = "GLIBC_TUNABLES"


# New objects between two of Python's searches for cycles; its own 700 cost a tenth of the time to the first step, as
# tracing makes millions of objects that stay.
COLLECT_AFTER = 50_000


def prepare() -> None:
    """Called before JAX is imported; on Linux it starts the program anew, once, with huge pages for what it allocates.

    glibc asks for them only if told so at the start. A CPU's training step takes memory and gives it back, and finding
    it page by page is a tenth to a quarter of its time. Nothing is started where the tunables are set already.
    """
    if sys.platform == "linux" and TUNABLES not in os.environ:
        os.environ[TUNABLES] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)
    gc.set_threshold(COLLECT_AFTER)


def give_back() -> None:
    """Returns to the system what was freed: after compiling, more than a training step of 8 images needs."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)

"""What a program on Linux asks of the C library's memory: huge pages, and nothing kept that is not used."""

import ctypes
import os
import sys

TUNABLES = "GLIBC_TUNABLES"


def use_huge_pages() -> None:
    """Starts the program anew, once, with huge pages for what it allocates; before JAX is imported.

    glibc asks for them only if told so at the start. A CPU's training step takes memory and gives it back, and finding
    it page by page is a tenth to a quarter of its time. Nothing is done where the tunables are set already.
    """
    if sys.platform == "linux" and TUNABLES not in os.environ:
        os.environ[TUNABLES] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)


def give_back() -> None:
    """Returns to the system what was freed: after compiling, more than a training step of 8 images needs."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)

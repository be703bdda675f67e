"""Settings of the process: memory in huge pages, rare garbage collection, XLA's CPU compiler, compiled programs."""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diffenc_jax.core.buckets import is_remote

TUNABLES = "GLIBC_TUNABLES"

# New objects between two garbage collections. Python's default of 700 takes a tenth of the time to the first step, as
# tracing makes millions of objects that stay.
COLLECT_AFTER = 50_000

# Compiler options for programs on CPUs, unless XLA_FLAGS set them. Compilation takes a sixth less time, and a training
# step, which consists mostly of library calls, is as fast.
OPTIMIZATION_LEVEL = "xla_backend_optimization_level"
CPU_OPTIONS = {} if OPTIMIZATION_LEVEL in os.environ.get("XLA_FLAGS", "") else {OPTIMIZATION_LEVEL: 1}
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def prepare() -> None:
    """Make the process allocate huge pages and collect garbage rarely; call it before JAX is imported.

    On a CPU without huge pages, page faults take a tenth to a quarter of a training step. glibc reads its tunables when
    a program starts, so on Linux the program is executed once more, with the same arguments, unless GLIBC_TUNABLES is
    set. If it cannot be executed again, it goes on with small pages.
    """
    if sys.platform == "linux" and TUNABLES not in os.environ:
        os.environ[TUNABLES] = "glibc.malloc.hugetlb=1"
        with suppress(OSError):
            os.execv(sys.executable, sys.orig_argv)
    gc.set_threshold(COLLECT_AFTER)


@contextmanager
def interruptible() -> Iterator[None]:
    """A context in which SIGTERM raises KeyboardInterrupt with its number, as SIGINT does."""

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def keep_programs(folder: Path) -> None:
    """Keep compiled programs in `folder`/compilation_cache for later processes.

    JAX_COMPILATION_CACHE_DIR names another folder; with JAX_ENABLE_COMPILATION_CACHE=False none are kept.
    """
    import jax

    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        cache = folder / "compilation_cache"
        # The path is absolute and follows links, so that it holds for every process and working folder.
        jax.config.update("jax_compilation_cache_dir", str(cache) if is_remote(cache) else os.path.realpath(cache))


def return_freed_memory() -> None:
    """Return freed memory to the system. Compilation frees more than a training step of 8 images needs.

    In a process of 550 MB it takes 15 ms of CPU time, with the page faults that follow.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def machine_memory() -> int | None:
    """Bytes of memory of this machine or container; None if they are unknown."""
    with suppress(AttributeError, ValueError, OSError):
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        with suppress(OSError, ValueError):  # no container, or no limit
            return min(physical, int(CONTAINER_LIMIT.read_text()))
        return physical
    return None

"""Shapes of the mathematics are checked, and all processes of the tests share compiled programs."""

import gc
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The compiler divides a program for the CPUs of its process, which change the last bits of results; keys do not say it.
_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
_programs = Path(__file__).parents[1] / f".pytest_cache/jax-{_cpus}-cpus"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_programs))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

# Programs that were started in the background ignore Ctrl-C, and so would the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jaxtyping

jaxtyping.install_import_hook("diffenc_jax.diffusion", "beartype.beartype")

import hypothesis
import jax
import pytest

from tests.processes import QUICKLY_COMPILED

# In CI the examples are the same each time: a change is refused for what it does, not by chance.
if "CI" in os.environ:
    hypothesis.settings.register_profile("repeatable", derandomize=True)
    hypothesis.settings.load_profile("repeatable")

# JAX and `core.runtime` read the flags here, once; processes that tests start compile as for users.
with pytest.MonkeyPatch.context() as _patch:
    _patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {QUICKLY_COMPILED}")
    jax.devices()
    import diffenc_jax.core.runtime  # noqa: F401


def pytest_collection_finish(session):
    """Modules stay to the end, so that the garbage collector, which tracing sets off often, need not visit them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture
def x64():
    """Double precision for the test that asks for it."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium."""
    from tests.browser import chromium

    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A file of 20 training images and 8 test images with labels."""
    from tests.stored_runs import write_images

    return str(write_images(tmp_path_factory.mktemp("images") / "images.npz", count=8))


@pytest.fixture(scope="session")
def _server():
    from tests.bucket import Bucket

    with Bucket() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def bucket(_server, request):
    """A bucket without faults, for this process and those that it starts; `bucket.folder` is an empty folder in it."""
    from diffenc_jax.core.buckets import as_path
    from tests.bucket import NAME, Faults

    _server.faults = Faults()
    _server.folder = as_path(f"gs://{NAME}/{request.node.name.replace('[', '-').rstrip(']')}")
    yield _server
    _server.faults = Faults()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few megabytes, and a function that fills it or, called again, makes room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.name != "posix" or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk]).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    ballast = disk / "ballast"

    def toggle():
        if ballast.exists():
            ballast.unlink()
        else:
            with suppress(OSError):
                ballast.write_bytes(bytes(2**25))

    yield disk, toggle
    subprocess.run(["umount", "-l", disk], check=True)

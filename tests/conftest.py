"""Shapes of the mathematics are checked, and compiled programs are kept between tests."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import signal

# Programs that were started in the background ignore Ctrl-C, and so would what the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jaxtyping

jaxtyping.install_import_hook("diffenc_jax.diffusion", "beartype.beartype")

import jax
import pytest

# Compilation, not arithmetic, is what the tests' time goes into. Processes that tests start compile as ever.
_flags = os.environ.get("XLA_FLAGS")
os.environ["XLA_FLAGS"] = f"{_flags or ''} --xla_backend_optimization_level=0"
jax.devices()  # reads the flags, as
import diffenc_jax.train.step  # noqa: F401  # does

os.environ.pop("XLA_FLAGS")
if _flags is not None:
    os.environ["XLA_FLAGS"] = _flags


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("jax_cache")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture
def x64():
    """Double precision for the test that asks for it."""
    with jax.enable_x64(True):
        yield

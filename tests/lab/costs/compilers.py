"""The TPU and the GPU compiler for tests, in folders beside the environment; see the Makefile."""

import platform
import sys

import pytest

from tests import ROOT, processes


def path(kind):
    """Entry of PYTHONPATH for the compiler of 'tpu' or 'gpu'; skips the test on machines without it."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("these compilers are for Linux on x86-64")
    folder = ROOT / ".venv" / kind
    if kind == "gpu" and not folder.is_dir():
        pytest.skip("make .venv/gpu brings the GPU compiler")
    assert folder.is_dir(), "make .venv/tpu brings the TPU compiler"
    return str(folder)


def python(kind, code, *arguments, **options):
    """Output of a process in which JAX finds a compiler and runs on CPUs."""
    environment = {"PYTHONPATH": f"{path(kind)}:{ROOT}", "JAX_PLATFORMS": "cpu"}
    return processes.python("-c", code, *arguments, timeout=900, **environment, **options).stdout

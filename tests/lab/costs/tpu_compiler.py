"""The TPU compiler for tests, in a folder beside the environment; see the Makefile."""

import os
import platform
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / ".venv" / "tpu"


def path():
    """Entry of PYTHONPATH for it; skips the test on machines for which there is none."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("libtpu is for Linux on x86-64")
    assert FOLDER.is_dir(), "make .venv/tpu brings the TPU compiler"
    return str(FOLDER)


def environment():
    """Environment variables of a process that finds it."""
    return os.environ | {"PYTHONPATH": path()}

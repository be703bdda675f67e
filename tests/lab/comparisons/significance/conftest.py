"""Commands over runs that are made up, and commands as users start them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffenc_jax.lab.comparisons.significance import grid

ROOT = Path(__file__).parents[4]


@pytest.fixture
def made_up_runs(monkeypatch):
    """Processes that make runs up take the place of those that train."""
    monkeypatch.chdir(ROOT)
    for name in ("MAIN", "COSTS"):
        monkeypatch.setattr(grid, name, ("-m", "tests.lab.comparisons.significance.made_up"))


@pytest.fixture
def start():
    """Starts `diffenc` as a user does."""

    def start(*arguments, **pipes):
        quickly_compiled = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "diffenc_jax", *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | quickly_compiled, **pipes)

    return start

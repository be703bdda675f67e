"""Commands over runs that are made up, and commands as users start them."""

from functools import partial

import pytest

from diffenc_jax.lab.comparisons.significance import grid
from tests import ROOT, processes


@pytest.fixture
def made_up_runs(monkeypatch):
    """Processes that make runs up take the place of those that train."""
    monkeypatch.chdir(ROOT)
    for name in ("MAIN", "COSTS"):
        monkeypatch.setattr(grid, name, ("-m", "tests.lab.comparisons.significance.made_up"))


@pytest.fixture
def start():
    """Starts `diffenc` as a user does."""
    return partial(processes.start, "-m", "diffenc_jax", XLA_FLAGS="--xla_backend_optimization_level=0")

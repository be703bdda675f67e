"""Commands over runs that are made up."""

import pytest

from diffenc_jax.lab.comparisons.significance import grid
from tests import ROOT


@pytest.fixture
def made_up_runs(monkeypatch):
    """Processes that make runs up take the place of those that train."""
    monkeypatch.chdir(ROOT)
    for name in ("MAIN", "COSTS"):
        monkeypatch.setattr(grid, name, ("-m", "tests.lab.comparisons.significance.made_up"))

"""Made-up records in the working directory."""

from pathlib import Path

import pytest

from tests.lab.comparisons.significance import made_up


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a record of `bits` [passes, images] with noise of seed 0; returns its path, a short one."""
    monkeypatch.chdir(tmp_path)

    def write(name, bits, estimator=(), dataset=(), **changes):
        path, record = Path(f"{name}.json"), made_up.record(name, 3, bits, **changes)
        record["estimator"] |= {"seed": 0} | dict(estimator)
        record["dataset"] |= dict(dataset)
        made_up.write_values(path, record, bits)
        return path

    return write

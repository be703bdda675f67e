"""The page on densities."""

import re
import textwrap
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "densities.md"
STEPS = '"train.steps": 2000'


@pytest.mark.slow
def test_every_cell_runs(tmp_path, monkeypatch):
    """One after another, with short trainings."""
    cells = re.findall(r"^(?:    .*\n|\n(?=    ))+", PAGE.read_text(), re.MULTILINE)
    code = "\n".join(textwrap.dedent(cell) for cell in cells if "diffenc train" not in cell)
    assert code.count(STEPS) == 2
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code.replace(STEPS, '"train.steps": 20').replace("(0), 100)", "(0), 5)"), names)
    assert names["log_p"].nats.shape == names["log_p"].standard_error.shape == (600,)
    assert names["scores"].shape == (4, 2)
    assert names["chain"].shape == (5, 2)

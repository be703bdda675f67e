"""The notebook runs from top to bottom, with smaller networks, and its outputs are what its text says."""

import importlib
import re

import pytest

from tests import ROOT, tiny
from tests.xla_flags import QUICKLY_COMPILED

FIGURES = {"samples", "encoder", "by-time"}
# What makes it shorter here.
SHORTER = {
    '"digits:': '"small.py:',
    '"train.steps": 400': '"train.steps": 20, "eval.passes": 2, "eval.time_sampling": "uniform"',
    '"gammas": 21, "images": 3': '"gammas": 5, "images": 1',
    "cells=25, draws=2": "cells=5, draws=1",
}


def printed(outputs):
    return "".join(output.get("text", "") for output in outputs)


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


@pytest.mark.slow
def test_the_notebook_runs_and_its_outputs_are_what_its_text_says(tmp_path, monkeypatch):
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} is not installed; pip install '.[test]'")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XLA_FLAGS", QUICKLY_COMPILED)
    text = (ROOT / "docs" / "digits.ipynb").read_text(encoding="utf-8")
    for long, short in SHORTER.items():
        long, short = (source.replace('"', '\\"') for source in (long, short))
        assert long in text
        text = text.replace(long, short)
    (tmp_path / "small.py").write_text(tiny.FILE)
    (tmp_path / "digits.ipynb").write_text(text, encoding="utf-8")
    cells = importlib.import_module("notebooks").executed(tmp_path / "digits.ipynb", tmp_path)["cells"]
    outputs = {cell["id"]: cell["outputs"] for cell in cells if cell["cell_type"] == "code"}
    assert {name for name, found in outputs.items() if any("image/png" in o.get("data", ()) for o in found)} == FIGURES
    reconstruction, latent, diffusion, total = (numbers(line)[0] for line in printed(outputs["terms"]).splitlines())
    assert total == pytest.approx(reconstruction + latent + diffusion, abs=2e-4)
    assert "the same digit: True" in printed(outputs["compress"])
    (table,) = outputs["compare"]
    bits = {line.split()[1]: numbers(line)[0] for line in table["data"]["text/markdown"].splitlines() if "pass" in line}
    assert bits["diffenc"] == total
    assert bits["vdm"] < numbers(printed(outputs["growth"]))[0]

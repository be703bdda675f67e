"""The notebook runs from top to bottom, and its outputs are what its text says."""

import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIGURES = {"samples", "maps", "encoder", "by-time"}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of each cell by the cell's id."""
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} is not installed; pip install '.[test]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs" / "site"))
        patch.setenv("PYTHONPATH", str(ROOT))
        import notebooks

        notebook = notebooks.executed(ROOT / "docs" / "digits.ipynb", tmp_path_factory.mktemp("notebook"))
    return {cell["id"]: cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"}


def printed(outputs):
    return "".join(output.get("text", "") for output in outputs)


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


@pytest.mark.slow
def test_the_notebook_runs_and_its_outputs_are_what_its_text_says(outputs):
    assert {name for name, found in outputs.items() if any("image/png" in o.get("data", ()) for o in found)} == FIGURES
    reconstruction, latent, diffusion, total = (numbers(line)[0] for line in printed(outputs["terms"]).splitlines())
    assert total == pytest.approx(reconstruction + latent + diffusion, abs=2e-4)
    assert total < 2.5 < math.log2(17)
    assert "the same digit: True" in printed(outputs["compress"])
    assert total < numbers(printed(outputs["growth"]))[0] < math.log2(17)
    (table,) = outputs["compare"]
    bits = {line.split()[1]: numbers(line)[0] for line in table["data"]["text/markdown"].splitlines() if "pass" in line}
    assert bits["diffenc"] == total
    assert bits["vdm"] == pytest.approx(total, abs=0.2)

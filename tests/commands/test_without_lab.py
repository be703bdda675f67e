"""The library without the lab: a copy of the package, of which the lab is deleted, trains, evaluates and samples."""

import shutil

from tests import ROOT, tiny
from tests.processes import QUICKLY_COMPILED, python

PROGRAM = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]  # finds the lab of a clone
from diffenc_jax.__main__ import COMMANDS, main
config, run = sys.argv[1:]
main(["train", f"--config={config}", f"--workdir={run}"]), main(["eval", run]), main(["sample", run])
print(main(["depth-study", run]), *COMMANDS)
"""


def test_the_library_works_without_the_lab(tmp_path):
    shutil.copytree(ROOT / "diffenc_jax", tmp_path / "diffenc_jax", ignore=shutil.ignore_patterns("lab", "__pycache__"))
    (tmp_path / "small.py").write_text(tiny.file(train__steps=2, log__samples=0))
    changes = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "XLA_FLAGS": QUICKLY_COMPILED}
    done = python("-c", PROGRAM, tmp_path / "small.py", tmp_path / "run", cwd=tmp_path, **changes)
    assert done.stdout.splitlines()[-1:] == ["2 train eval sample prepare-data config-keys"]
    assert "error: unknown command 'depth-study'" in done.stderr
    assert list((tmp_path / "run" / "eval").glob("*.json"))
    assert list((tmp_path / "run" / "samples").glob("*.npz"))

"""Examples of adding a part: each diff applies, the contract tests cover the new part, and its arm can be built."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
# The tests that must cover the new part of each diff: their file, an expression that selects them, and their number.
TESTS = {
    "dataset": ("tests/data/test_sources.py", "checkerboard", 2),
    "encoder": ("tests/diffusion/test_encoders.py", "fading or encoder4", 6),
    "estimator": ("tests/evaluation", "antithetic", 2),
    "forward_process": ("tests/diffusion/test_schedules.py", "bent or bend", 6),
    "schedule": ("tests/diffusion/test_schedules.py", "cosine", 5),
    "score_network": ("tests/model/test_registry.py", "perceptron", 3),
}
# Arms that the diffs add to configs/digits.py.
ARMS = {"encoder": "fading", "forward_process": "vdm-bent", "score_network": "vdm-perceptron"}
BUILD = """
from diffenc_jax.config import load_config
from diffenc_jax.model import ImageSpec, build
build(load_config("configs/digits.py:{}"), ImageSpec((8, 8, 1), 17))
"""


def apply(name, folder, *options):
    command = ["git", "apply", *options, FOLDER / f"{name}.diff"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_python(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", TESTS)
def test_it_applies(name):
    apply(name, ROOT, "--check")


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_its_part_is_covered(name, tmp_path):
    for part in ("diffenc_jax", "configs", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    apply(name, tmp_path)
    path, expression, count = TESTS[name]
    common = ["-m", "pytest", "-p", "no:xdist", "-m", ""]
    assert f"{count} passed" in run_python(tmp_path, *common, path, "-k", expression)
    run_python(tmp_path, *common, "tests/test_architecture.py", "-k", "downward")
    if name in ARMS:
        run_python(tmp_path, "-c", BUILD.format(ARMS[name]))

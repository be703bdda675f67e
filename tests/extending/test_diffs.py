"""What README shows of adding a part: each diff applies, and the contract tests take the new part up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
# Of each diff, the tests that must see the new part: files, and an expression that only its tests meet.
TESTS = {
    "encoder": ("tests/diffusion/test_encoders.py", "fading"),
    "schedule": ("tests/diffusion/test_schedules.py", "cosine"),
    "dataset": ("tests/data/test_sources.py", "checkerboard"),
    "estimator": ("tests/estimators/test_antithetic.py", "less_noise"),
}


def apply(name, folder, *options):
    command = ["git", "apply", *options, FOLDER / f"{name}.diff"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", TESTS)
def test_it_applies(name):
    apply(name, ROOT, "--check")


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_its_part_is_taken_up(name, tmp_path):
    for part in ("diffenc_jax", "configs", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    apply(name, tmp_path)
    file, expression = TESTS[name]
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-m", "", file, "tests/test_architecture.py"]
    command += ["-k", f"{expression} or architecture"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

"""examples/minimal.py: a training loop of one's own."""

import ast
import runpy
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "examples/minimal.py"


def test_it_needs_the_mathematics_and_the_networks_only():
    imported = {node.module for node in ast.walk(ast.parse(FILE.read_text())) if isinstance(node, ast.ImportFrom)}
    ours = {name.split(".")[1] for name in imported if name.startswith("diffenc_jax")}
    assert ours == {"diffusion", "nets"}
    assert len(FILE.read_text().splitlines()) <= 120


@pytest.mark.slow
def test_it_learns():
    assert 1.5 < runpy.run_path(str(FILE))["main"](steps=60, batch_size=16) < 7.0  # at the start: 8.9

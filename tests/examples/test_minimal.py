"""examples/minimal.py: a training loop of one's own."""

import ast
import importlib

import pytest

from tests import ROOT

FILE = ROOT / "examples/minimal.py"


def test_it_needs_the_mathematics_and_the_networks_only():
    imported = {node.module for node in ast.walk(ast.parse(FILE.read_text())) if isinstance(node, ast.ImportFrom)}
    ours = {name.split(".")[1] for name in imported if name.startswith("diffenc_jax")}
    assert ours == {"diffusion", "nets"}
    assert len(FILE.read_text().splitlines()) <= 120


@pytest.mark.slow
def test_the_minimal_example_learns(monkeypatch):
    """With smaller networks."""
    minimal = importlib.import_module("minimal")
    for name, changes in {"SCORE": dict(layers=1), "ENCODER": dict(width=32, layers=1, levels=1)}.items():
        monkeypatch.setattr(minimal, name, getattr(minimal, name).clone(**changes))
    assert 1.5 < minimal.main(steps=60, batch_size=16) < 7.0  # at the start: 8.9

"""Kernels of GPUs run by Pallas's interpreter."""

import pytest

from diffenc_jax.nets.kernels import gpu_programs


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setattr(gpu_programs, "INTERPRET", True)

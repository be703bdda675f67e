"""Kernels of GPUs run by Pallas's interpreter."""

import pytest

from diffenc_jax.nets.kernels import triton_norm


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setattr(triton_norm, "INTERPRET", True)

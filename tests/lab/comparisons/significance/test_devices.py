"""Shares of a machine's devices: a GPU, a TPU chip or a part of the cores for each process."""

import os
from pathlib import Path

import pytest

from diffenc_jax.lab.comparisons.significance import devices


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores, and with files under /dev for what else it has."""

    def machine(cores, *files, visible=None):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        listed = [Path(file) for file in files]
        monkeypatch.setattr(Path, "glob", lambda path, pattern: (f for f in listed if f.match(str(path / pattern))))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return machine


def test_shares(machine):
    machine(5)
    assert devices.shares(1) == [({}, None)]
    assert [share.cores for share in devices.shares(2)] == [{0, 2, 4}, {1, 3}]
    assert [share.cores for share in devices.shares(7)] == [{i % 5} for i in range(7)]
    machine(4, "/dev/nvidia0", visible="")  # a GPU that is hidden
    assert [share.cores for share in devices.shares(2)] == [{0, 2}, {1, 3}]
    machine(8, "/dev/nvidia0", "/dev/nvidia1")
    assert devices.shares(2) == [({"CUDA_VISIBLE_DEVICES": "0"}, None), ({"CUDA_VISIBLE_DEVICES": "1"}, None)]
    machine(8, "/dev/nvidia0", visible="3")
    assert devices.shares(2)[1].environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    machine(8, "/dev/accel0", "/dev/accel1")
    chips = [share.environment for share in devices.shares(2)]
    assert [chip["TPU_VISIBLE_DEVICES"] for chip in chips] == ["0", "1"]
    assert chips[0]["TPU_MESH_CONTROLLER_PORT"] != chips[1]["TPU_MESH_CONTROLLER_PORT"]

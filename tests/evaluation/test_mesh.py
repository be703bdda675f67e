"""The value of an image does not depend on the batch size or on the number of devices."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TERMS = ("reconstruction", "latent", "diffusion")
pytestmark = pytest.mark.slow  # six evaluations, each compiled anew


def test_values_depend_neither_on_the_batch_nor_on_the_devices(tmp_path):
    """All 297 test images of the digits at batches 7, 64 and 297, to 1e-5 relative."""
    found = {}
    for devices in (1, 8):
        folder = tmp_path / str(devices)
        sizes = ("7", "64", "297")
        command = [sys.executable, "-m", "tests.evaluation.mesh_program", str(devices), str(folder), *sizes]
        subprocess.run(command, cwd=ROOT, check=True, timeout=1200)
        for size in sizes:
            (record,) = (folder / size / "eval").glob("test-1-continuous-*.json")
            with np.load(record.with_suffix(".npz")) as values:
                found[devices, size] = sum(values[term] for term in TERMS), values["mass"]
            assert json.loads(record.read_text())["device"].startswith(f"{devices} x ")
    nats, mass = found[1, "64"]
    assert nats.shape == (2, 297)
    for other, other_mass in found.values():
        np.testing.assert_array_equal(other_mass, mass)
        np.testing.assert_allclose(other, nats, rtol=1e-5)

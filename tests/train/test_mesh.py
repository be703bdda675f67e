"""One program on one device and on eight, with and without sharded parameters."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.slow  # three processes compile for a minute each


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(devices, fsdp) -> what mesh_program.py wrote."""
    found = {}
    for devices, fsdp in ((1, 1), (8, 1), (8, 4)):
        folder = tmp_path_factory.mktemp("mesh")
        command = [sys.executable, "-m", "tests.train.mesh_program", str(devices), str(fsdp), str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)
        with np.load(folder / "result.npz") as archive:
            found[devices, fsdp] = dict(archive)
    return found


@pytest.mark.parametrize("mesh", [(8, 1), (8, 4)])
def test_eight_devices_train_and_evaluate_as_one(results, mesh):
    """Up to float32's order of summation, which AdamW's first steps enlarge to a share of the learning rate."""
    one, eight = results[1, 1], results[mesh]
    np.testing.assert_allclose(eight["nats"], one["nats"], rtol=2e-3, atol=1e-5)  # some are 1e-5 nats in all
    assert float(eight["bpd"]) == pytest.approx(float(one["bpd"]), rel=1e-4)
    moved = np.abs(one["params"] - eight["params"])
    assert np.quantile(moved, 0.99) < 1e-5


def test_sharded_parameters_take_a_share_of_each_device(results):
    assert results[8, 1]["held"] == 1.0
    assert results[8, 4]["held"] < 0.4

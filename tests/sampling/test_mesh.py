"""Image i is the same on one device and on eight, with sharded parameters, in batches of any size."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DRAWINGS = ["ancestral-12-12", "ancestral-12-4", "ancestral-5-12", "flow-12-12"]  # sampler, images, batch size
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # two processes, each compiles for a minute


def drawn(folder):
    """The images of all drawings in `folder`, by name."""
    return {name.parent.parent.name: np.load(name)["images"] for name in folder.rglob("*.npz")}


def test_images_depend_neither_on_the_batch_nor_on_the_devices(tmp_path):
    found = {}
    for devices in (1, 8):
        program = [sys.executable, "-m", "tests.sampling.mesh_program"]
        command = [*program, str(devices), str(tmp_path / str(devices)), *DRAWINGS]
        subprocess.run(command, cwd=ROOT, check=True, timeout=1200)
        found[devices] = drawn(tmp_path / str(devices))
    assert sorted(found[1]) == sorted(found[8]) == DRAWINGS
    for name, images in found[1].items():
        np.testing.assert_array_equal(found[8][name], images, err_msg=name)
    likelihoods = [np.load(next((tmp_path / n / "flow-12-12").rglob("*.npz")))["nats"] for n in ("1", "8")]
    np.testing.assert_allclose(*likelihoods, atol=0.1)  # 16 dimensions, a tolerance of 1e-4 per step
    steps, flow = found[1]["ancestral-12-12"], found[1]["flow-12-12"]
    np.testing.assert_array_equal(found[1]["ancestral-12-4"], steps)
    np.testing.assert_array_equal(found[1]["ancestral-5-12"], steps[:5])
    assert len({image.tobytes() for image in (*steps, *flow)}) == 24
    rows = [np.asarray(Image.open(next((tmp_path / n / "ancestral-5-12").rglob("*-from-*.png")))) for n in ("1", "8")]
    np.testing.assert_array_equal(*rows)

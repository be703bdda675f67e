"""Figures that are drawn fast, and runs that were never trained."""

import pytest

from diffenc_jax.lab.figures import style
from tests.stored_runs import write_images, write_run


@pytest.fixture(scope="module")
def sketched():
    """Figures have few pixels and no layout, for tests of what stands beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 30)
        patch.setattr(style, "STYLE", [style.STYLE, {"figure.constrained_layout.use": False}])
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with 'images.npz' and a run of each arm on them, in folders of the arms' names."""
    folder = tmp_path_factory.mktemp("runs")
    images = write_images(folder / "images.npz")
    for arm in ("vdm", "diffenc", "nontrainable"):
        write_run(folder / arm, images, arm)
    return folder

"""Fixtures of the tests of examples/."""

import pytest

from diffenc_jax.core import parts
from tests import ROOT


@pytest.fixture(autouse=True, scope="module")
def on_the_path(request):
    """The module's `PACKAGE` can be imported; modules without one import the scripts of examples/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples" / getattr(request.module, "PACKAGE", ""))
        yield


@pytest.fixture
def announced(request, tmp_path, monkeypatch):
    """The folder of the metadata that an installation of the module's `PACKAGE` leaves, which are on the path."""
    package = request.module.PACKAGE
    folder = tmp_path / f"{package}-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    project = (ROOT / "examples" / package / "pyproject.toml").read_text()
    lines = project.partition('"diffenc_jax.parts"]\n')[2].partition("\n\n")[0]
    (folder / "entry_points.txt").write_text("[diffenc_jax.parts]\n" + lines.replace('"', ""))
    monkeypatch.syspath_prepend(tmp_path)
    parts.entries.cache_clear()
    yield folder
    parts.entries.cache_clear()

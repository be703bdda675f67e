"""The entry points that an installation of a package of examples/ leaves."""

from diffenc_jax.core import parts
from tests import ROOT

EXAMPLES = ROOT / "examples"


def announce(package, tmp_path, monkeypatch):
    """Generator of a fixture: the folder of the package's metadata, which are on the path while it waits."""
    folder = tmp_path / f"{package}-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    project = (EXAMPLES / package / "pyproject.toml").read_text()
    lines = project.partition('"diffenc_jax.parts"]\n')[2].partition("\n\n")[0]
    (folder / "entry_points.txt").write_text("[diffenc_jax.parts]\n" + lines.replace('"', ""))
    monkeypatch.syspath_prepend(tmp_path)
    parts.entries.cache_clear()
    yield folder
    parts.entries.cache_clear()

"""Versions and digests say which sources computed a result, the package's and those of parts from elsewhere."""

import importlib
import shutil
import subprocess
import sys

import pytest

from diffenc_jax import __version__
from diffenc_jax.core import sources, versions
from diffenc_jax.diffusion.encoders import Identity
from tests import ROOT
from tests.processes import python

PRINT = "from diffenc_jax.core.versions import package_version; print(package_version())"


@pytest.fixture
def copy(tmp_path):
    """A folder with a few files of this package."""
    for name in ("setup.py", "diffenc_jax/__init__.py", "diffenc_jax/core/__init__.py", "diffenc_jax/core/versions.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def git(folder, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def version_in(folder):
    return python("-c", PRINT, cwd="/", PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1").stdout.strip()


def test_the_version_of_a_clone_is_its_commit_and_its_changes(copy):
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        git(copy, *arguments)
    clean = f"{__version__}+g{git(copy, 'rev-parse', 'HEAD')[:12]}"
    assert version_in(copy) == clean
    (copy / "notes.txt").write_text("no source")
    assert version_in(copy) == clean
    git(copy, "tag", f"v{__version__}")
    assert version_in(copy) == __version__
    changed = []
    for text in ("x = 1\n", "x = 2\n"):
        (copy / "diffenc_jax" / "more.py").write_text(text)
        changed.append(version_in(copy))
    assert all(version.startswith(f"{clean}.changed.") for version in changed)
    assert changed[0] != changed[1]


def test_the_version_of_a_copy_is_a_digest_of_its_sources(copy):
    """Also within somebody else's repository, whose commit says nothing of it."""
    git(copy.parent, "init", "-q", str(copy.parent))
    first = version_in(copy)
    (copy / "diffenc_jax" / "more.py").write_text("x = 1\n")
    second = version_in(copy)
    assert {text.rpartition(".")[0] for text in (first, second)} == {f"{__version__}+sources"}
    assert first != second


def test_other_processors_and_options_of_compilers_are_other_environments(monkeypatch):
    here = versions.environment({})
    monkeypatch.setattr(versions, "processor", lambda: "another (avx512f)")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX")
    said = versions.changes(here, versions.environment({}))
    assert said.startswith("under other versions: XLA_FLAGS none -> --xla_cpu_max_isa=AVX, device ")
    assert said.endswith("cpu, another (avx512f)")


FILES = {
    "mine.py": """
import jax
from helpers import make, values
import wave
from diffenc_jax.diffusion.encoders import Encoder


class Half(Encoder):
    def mean(self, x, gamma):  # α_t x
        from helpers.deep.late import factor

        return values.HALF * factor * make(0.5) * x
""",
    "helpers/__init__.py": "from .making import make",
    "helpers/making.py": "def make(amount):\n    return 2 * amount",
    "helpers/values.py": "import scaling\nHALF = scaling.ONE / 2",
    "helpers/deep/late.py": "factor = 1",  # of a folder without __init__.py
    "helpers/unused.py": "unused = 1",
    "scaling.py": "ONE = 1",
    "wave.py": "fmean = " + " + ".join(["1"] * 2000),
}


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """Function that writes the files, some of them changed, and returns the digest of mine.py."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def digest(imports=True, **changed):
        for name, text in FILES.items():
            path, key = tmp_path / name, name.removesuffix(".py").replace("/", "_")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(changed.get(key, lambda text: text)(text))
        importlib.invalidate_caches()
        if imports:
            importlib.import_module("mine")
        found = sources.outside_digest(["mine:Half"])
        for name in [name for name in sys.modules if name.split(".")[0] in ("mine", "helpers", "scaling", "wave")]:
            sys.modules.pop(name)
        return found

    return digest


CHANGES = [
    ("mine", "0.5", "0.25"),
    ("helpers___init__", "making import make", "making import make as make"),
    ("helpers_making", "2", "3"),
    ("helpers_values", "/ 2", "/ 3"),
    ("helpers_deep_late", "1", "2"),
    ("scaling", "1", "2"),
    ("wave", "1 +", "2 +"),
]


def test_what_a_file_imports_counts(digest):
    first = digest()
    assert first not in (None, sources.UNKNOWN)
    for name, before, after in CHANGES:
        assert digest(**{name: lambda text, old=before, new=after: text.replace(old, new)}) != first, name


def test_comments_layout_and_what_else_is_loaded_do_not_count(digest):
    first = digest()
    assert digest(mine=lambda text: text.replace("# α_t x", "").replace("0.5)", "\n0.50, )")) == first
    assert digest(helpers_unused=lambda text: text.replace("1", "2")) == first
    assert digest(imports=False) == first


def test_the_version_of_an_installed_package_counts(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    (folder / "extra").mkdir(parents=True)
    (folder / "extra/__init__.py").touch()
    (tmp_path / "mine.py").write_text("import extra.parts\nimport jax")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.syspath_prepend(tmp_path)
    seen = set()
    for number in (1, 2, 2):
        metadata = folder / f"extra-{number}.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: extra\nVersion: {number}\n")
        (metadata / "top_level.txt").write_text("extra")
        sources.distributions.cache_clear()
        seen.add(sources.outside_digest(["mine:Part"]))
        shutil.rmtree(metadata)
    assert len(seen) == 2


def test_parts_of_the_package_have_none_and_what_has_no_source_is_unknown():
    assert sources.outside_digest([Identity, Identity(), "diffenc_jax.diffusion.encoders:Identity"]) is None
    names = {"__name__": "typed_in"}
    exec("class Part:\n    def mean(self, x):\n        return x", names)
    assert sources.outside_digest([names["Part"]]) == sources.UNKNOWN

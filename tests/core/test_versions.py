"""The version says which sources computed a result, in a clone, a copy and a distribution."""

import shutil
import subprocess

import pytest

from diffenc_jax import __version__
from diffenc_jax.core import versions
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

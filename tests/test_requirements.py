"""The pinned requirements in requirements/ satisfy pyproject.toml, for every Python version and platform in use."""

import itertools
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {"": "lock.txt"} | {extra: f"lock-{extra}.txt" for extra in ("tpu", "cuda", "test", "docs")}
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
# Packages that an extra of another package stands for.
BROUGHT = {"tpu": {"jax", "libtpu"}, "cuda": {"jax", "jax-cuda13-plugin", "nvidia-cudnn-cu13"}}


def environments():
    for python, (system, name, machine) in itertools.product(PYTHONS, PLATFORMS):
        versions = {"python_version": python, "python_full_version": f"{python}.5", "implementation_name": "cpython"}
        yield versions | {"sys_platform": system, "platform_system": name, "platform_machine": machine}


def apply(lines, environment):
    """The requirements that apply in an environment; everything that is no requirement raises an error."""
    requirements = [Requirement(line) for line in lines]
    return [each for each in requirements if each.marker is None or each.marker.evaluate(environment)]


def pinned(extra, environment):
    """Version by package that the lock of an extra installs in an environment."""
    lines = (ROOT / "requirements" / LOCKS[extra]).read_text().splitlines()
    versions = {}
    for requirement in apply([line for line in lines if not line.startswith("#")], environment):
        (exact,) = requirement.specifier
        name = canonicalize_name(requirement.name)
        assert exact.operator == "=="
        assert requirement.url is None
        assert name not in versions, f"{name} is pinned twice for {environment}"
        versions[name] = exact.version
    return versions


@pytest.mark.parametrize("extra", LOCKS)
def test_a_lock_satisfies_every_requirement(extra):
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"].get(extra, [])
    for environment in environments():
        versions = pinned(extra, environment)
        for requirement in apply(wanted, environment):
            version = versions.get(canonicalize_name(requirement.name))
            assert version in requirement.specifier, f"{requirement}, pinned: {version}; run `make lock`"
        if environment["sys_platform"] == "linux":
            assert BROUGHT.get(extra, set()) <= versions.keys()


@pytest.mark.parametrize("extra", [extra for extra in LOCKS if extra])
def test_an_extra_adds_to_the_plain_installation_and_changes_nothing(extra):
    for environment in environments():
        assert pinned("", environment).items() <= pinned(extra, environment).items()


def test_every_supported_python_is_covered():
    prefix = "Programming Language :: Python :: 3."
    assert [f"3.{c.removeprefix(prefix)}" for c in PROJECT["classifiers"] if c.startswith(prefix)] == list(PYTHONS)
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}.5" in allowed] == list(PYTHONS)

"""Versions of the software, and the devices, for records of results and for runs.

JAX is imported where it is used, because commands that only read a run's files do not need it.
"""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

__version__ = "0.2.0.dev0"
OURS = "diffenc_jax"
PACKAGES = "jax jaxlib flax optax orbax-checkpoint diffrax numpy scipy constriction"
ROOT = Path(__file__).parents[2]
# Options of the compilers, recorded if they are set: they decide for which instructions a program is compiled.
OPTIONS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
HOST_DEVICES = re.compile(r"--xla_force_host_platform_device_count=\d+")
# Instruction sets, by their names in Linux, for which compilers and libraries have code of their own.
INSTRUCTIONS = "avx avx2 fma avx512f avx512_bf16 avx512_fp16 amx_bf16 asimd sve sve2 bf16"
# Compilers and libraries of accelerators, recorded if they are installed.
OF_ACCELERATORS = ("libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin", "nvidia-cublas", "nvidia-cudnn-cu13")
NOT_INSTALLED = "none"


class Environment(TypedDict):
    """Devices, software and outside parts, on which a result depends besides the configuration and the images.

    Attributes:
      device: see `device`.
      software: versions by name, see `software`.
      parts: digests of the sources of outside parts, by the key that names the part.
    """

    device: str
    software: dict[str, str]
    parts: dict[str, str]


@cache
def package_version() -> str:
    """Version of this package with the commit of its sources, such as '0.2.0.dev0+g407aed4c8f12'.

    In a clone it is the commit that is checked out at the first call. If the sources differ from this commit,
    '.changed' and a digest of the sources follow. A commit with the tag 'v0.2.0' is '0.2.0'. An installed distribution
    has the version of the clone from which it was built. In a copy of the sources, their digest stands in place of the
    commit.
    """
    if not (ROOT / "setup.py").exists():
        return version(OURS)
    try:
        commit = _git("rev-parse", "HEAD")[:12]
        differs = bool(_git("status", "--porcelain", "--", OURS, "configs", "setup.py"))
        tags = [tag[1:] for tag in _git("tag", "--points-at", "HEAD").split() if re.fullmatch(r"v\d[\w.]*", tag)]
    except (OSError, subprocess.CalledProcessError):
        return f"{__version__}+sources.{_sources_digest()}"
    if differs:
        return f"{__version__}+g{commit}.changed.{_sources_digest()}"
    return tags[-1] if tags else f"{__version__}+g{commit}"


def commit(checkout: Path = ROOT, apart_from: Sequence[str] = ()) -> str | None:
    """The commit of a checkout, with a '+' if tracked files differ from it; None outside of a git repository.

    Args:
      apart_from: paths in the checkout that may differ.
    """
    git, paths = ["git", "-C", str(checkout)], [".", *(f":!{path}" for path in apart_from)]
    try:
        named = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *paths], capture_output=True).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return None
    return named + "+" * changed


def _git(*arguments: str) -> str:
    """Output of git about the folder of this package, which must be the root of a clone. Raises OSError."""
    if not (ROOT / ".git").exists():
        raise FileNotFoundError(ROOT / ".git")
    # Without git's lock, so that the user can run git commands meanwhile.
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _sources_digest() -> str:
    """Eight hexadecimal digits, a digest of the sources of this package and of its configurations."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / OURS).rglob("*.py"), *(ROOT / "configs").rglob("*.py")]):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def software() -> dict[str, str]:
    """Versions by name, and options of compilers: {'python': '3.12.3', 'jax': '0.10.2', ...}."""
    further = {name: _installed(name) for name in OF_ACCELERATORS} | {name: os.environ.get(name) for name in OPTIONS}
    return {
        "python": platform.python_version(),
        OURS: package_version(),
        **{name: version(name) for name in PACKAGES.split()},
        **{name: value for name, value in further.items() if value},
    }


def device() -> str:
    """Number and kind of the devices of all hosts, such as '4 x TPU v5 lite' or '1 x cpu, AMD EPYC (avx2 fma)'."""
    import jax

    kind = jax.devices()[0].device_kind
    return f"{jax.device_count()} x {f'cpu, {processor()}' if kind == 'cpu' else kind}"


@cache
def processor() -> str:
    """Model of this host's processor, and which of `INSTRUCTIONS` it has: 'AMD EPYC (avx2 fma)'."""
    text = ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
    entries = dict(re.findall(r"^(model name|flags|Features)\s*: (.*)$", text, re.MULTILINE))
    has = set(f"{entries.get('flags', '')} {entries.get('Features', '')}".split())
    known = " ".join(name for name in INSTRUCTIONS.split() if name in has)
    return entries.get("model name", platform.processor() or platform.machine()) + (f" ({known})" if known else "")


def machine() -> dict[str, Any]:
    """'processor', number of 'cores' that this process may use, 'device' and 'software'."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": processor().partition(" (")[0], "cores": cores, "device": device(), "software": software()}


def environment(parts: Mapping[str, str]) -> Environment:
    """The environment of this process, with these `parts`."""
    return {"device": device(), "software": software(), "parts": dict(parts)}


def of_any_number(description: Mapping[str, Any]) -> dict[str, Any]:
    """An environment, or a description with its entries, without the number of devices."""
    options = {name: HOST_DEVICES.sub("", value).strip() for name, value in description["software"].items()}
    software = {name: value for name, value in options.items() if value}
    return {**description, "device": description["device"].partition(" x ")[2], "software": software}


def changes(before: Environment, after: Environment) -> str:
    """'under other versions: jax 0.10.2 -> 0.12.0, device 1 x cpu -> 8 x cpu'; '' without a change."""
    old, new = ({**one["software"], **one["parts"], "device": one["device"]} for one in (before, after))
    pairs = {name: (old.get(name, NOT_INSTALLED), new.get(name, NOT_INSTALLED)) for name in sorted({**old, **new})}
    changed = [f"{name} {was} -> {is_now}" for name, (was, is_now) in pairs.items() if was != is_now]
    return f"under other versions: {', '.join(changed)}" if changed else ""


def _installed(name: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(name)
    return None

"""Versions of the software, and the devices, for records of results and for runs.

JAX is imported where it is used, because what only reads a run's files has no use for it.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypedDict

PACKAGES = (
    *("diffenc_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy", "scipy"),
    "constriction",
)
# Compilers and libraries of accelerators, which are named where they are installed.
OF_ACCELERATORS = ("libtpu", "jax-cuda13-plugin", "nvidia-cublas", "nvidia-cudnn-cu13")
NOT_INSTALLED = "none"


class Environment(TypedDict):
    """Devices and software, on which a run's rounding depends besides its configuration."""

    device: str
    software: dict[str, str]


def software() -> dict[str, str]:
    """Versions by name: {'python': '3.12.3', 'jax': '0.10.2', ...}."""
    found = {name: _installed(name) for name in OF_ACCELERATORS}
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        **{name: number for name, number in found.items() if number is not None},
    }


def device() -> str:
    """Number and kind of the devices of all hosts, such as '4 x TPU v5 lite'."""
    import jax

    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def environment() -> Environment:
    """The environment of this process."""
    return {"device": device(), "software": software()}


def is_environment(value: Any) -> bool:
    """Whether a value from a JSON file is an Environment that can be printed."""
    if not isinstance(value, dict) or value.keys() != {"device", "software"} or not isinstance(value["software"], dict):
        return False
    texts = (value["device"], *value["software"], *value["software"].values())
    return all(isinstance(text, str) and text.isprintable() for text in texts)


def changes(before: Environment, after: Environment) -> str:
    """'under other versions: jax 0.10.2 -> 0.12.0; on other devices: 1 x cpu -> 8 x cpu', empty without a change."""
    changed = _changed(before["software"], after["software"])
    parts = [f"under other versions: {', '.join(changed)}"] if changed else []
    if before["device"] != after["device"]:
        parts.append(f"on other devices: {before['device']} -> {after['device']}")
    return "; ".join(parts)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    pairs = {name: (before.get(name, NOT_INSTALLED), after.get(name, NOT_INSTALLED)) for name in {**before, **after}}
    return [f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

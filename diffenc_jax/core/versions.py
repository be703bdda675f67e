"""Versions of the software, and the devices, for records of results."""

import platform
from importlib.metadata import version

import jax

PACKAGES = ("diffenc_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy")


def software() -> dict[str, str]:
    """Versions by name: {'python': '3.12.3', 'jax': '0.10.2', ...}."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def device() -> str:
    """Number and kind of the devices of all hosts, such as '4 x TPU v5 lite'."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"

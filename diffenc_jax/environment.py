"""What a record says of the software and the machine that its numbers come from."""

import platform
from importlib.metadata import version

import jax

PACKAGES = ("diffenc_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy")


def software() -> dict[str, str]:
    """{'python': '3.12.3', 'jax': '0.10.2', ...}."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def device() -> str:
    """'4 x TPU v5 lite': all devices, of every host."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"

"""Likelihood training and evaluation of diffusion models: DiffEnc, VDM and relatives in JAX.

The names below are imported when they are first used, so that `import diffenc_jax` loads neither JAX nor Flax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffenc_jax.api import Run as Run
    from diffenc_jax.api import TrainedRun as TrainedRun
    from diffenc_jax.api import open as open
    from diffenc_jax.config import Config as Config
    from diffenc_jax.core.errors import InputError as InputError
    from diffenc_jax.core.errors import Interrupted as Interrupted
    from diffenc_jax.core.errors import RunError as RunError
    from diffenc_jax.core.versions import __version__ as __version__
    from diffenc_jax.data.images import Batch as Batch
    from diffenc_jax.diffusion import ancestral as ancestral
    from diffenc_jax.diffusion import density as density
    from diffenc_jax.diffusion import encoders as encoders
    from diffenc_jax.diffusion import flow as flow
    from diffenc_jax.diffusion import losses as losses
    from diffenc_jax.diffusion import schedules as schedules
    from diffenc_jax.diffusion.process import Prediction as Prediction
    from diffenc_jax.diffusion.process import Process as Process
    from diffenc_jax.train.flops import load_config as load_config

# Public names by the module that has them; those of `diffusion` are its modules.
_PUBLIC = {
    "api": ("Run", "TrainedRun", "open"),
    "config": ("Config",),
    "core.errors": ("InputError", "Interrupted", "RunError"),
    "core.versions": ("__version__",),
    "data.images": ("Batch",),
    "diffusion": ("ancestral", "density", "encoders", "flow", "losses", "schedules"),
    "diffusion.process": ("Prediction", "Process"),
    "train.flops": ("load_config",),
}
_PLACES = {name: place for place, names in _PUBLIC.items() for name in names}

__all__ = [*_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place, is_module = f"{__name__}.{_PLACES[name]}", _PLACES[name] == "diffusion"
    return importlib.import_module(f"{place}.{name}") if is_module else getattr(importlib.import_module(place), name)


def __dir__() -> list[str]:
    return sorted(__all__)

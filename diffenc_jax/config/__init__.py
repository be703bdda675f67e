"""The published recipe; typed sections, parsed and checked once; what identifies a run; loading by name or path.

The sections are in `config.sections`, and the functions with which configuration files are written in `config.recipe`.
"""

from diffenc_jax.config.config import Config
from diffenc_jax.config.load import installed_configs, load_config
from diffenc_jax.config.schema import flatten

__all__ = ["Config", "flatten", "installed_configs", "load_config"]

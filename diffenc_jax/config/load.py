"""Loading a configuration by path or by installed name, with overrides."""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from diffenc_jax.config.config import Config, flatten
from diffenc_jax.core.errors import InputError, require

_PACKAGE = Path(__file__).parents[1]
# A wheel holds the configurations within the package; a checkout beside it.
CONFIGS = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"

UNAVAILABLE = "Configuration is not available because of an earlier failure to load:"


def load_config(spec: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration that `--config=SPEC` gives; raises InputError unless there is one with these values.

    Args:
      spec: path of a configuration file, or name of an installed one, with the arm after a colon:
        'configs/cifar10.py:vdm-8', 'cifar10:vdm-8', 'digits'.
      overrides: changes of single keys, such as 'train.steps=100'.
    """
    argument = f"--config={_path(spec)}"
    try:
        known = sorted(flatten(_load([argument]).to_dict()))
    except Exception as error:  # a configuration file is a program and may raise anything
        raise InputError(f"--config={spec}: {_last_line(error)}") from error
    for key in (override.partition("=")[0] for override in overrides):
        if not any(name == key or name.startswith(f"{key}.") for name in known):
            siblings = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
            raise InputError(f"unknown configuration key {key!r}; known: {', '.join(siblings or known)}")
    try:
        config = _load([argument, *(f"--config.{override}" for override in overrides)])
    except Exception as error:  # as many types as there are ways to misread a value
        raise InputError(_last_line(error)) from error
    return Config.parse(config)


def installed_configs() -> list[str]:
    """Names of the installed configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem != "__init__")


def _path(spec: str) -> str:
    """`spec` with the path of the file in place of an installed name."""
    name, colon, arm = spec.partition(":")
    if name.endswith(".py") or Path(name).name != name:
        return spec
    known = ", ".join(installed_configs())
    require(
        name in installed_configs(),
        f"unknown configuration {name!r}; known: {known}; or give a path such as --config=configs/digits.py",
    )
    return f"{CONFIGS / name}.py{colon}{arm}"


def _load(arguments: list[str]) -> ConfigDict:
    sys.modules.pop("config_config", None)  # where config_flags would find what another file has defined
    values, argv = flags.FlagValues(), ["", *arguments]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    values(argv)
    config = values.config
    getattr(config, "items", None)  # the first use of a configuration that could not be loaded raises the error
    require(isinstance(config, ConfigDict), f"get_config() must return a ConfigDict, not {config!r}")
    return config


def _last_line(error: Exception) -> str:
    """The error itself, without the traceback and the introduction that config_flags puts before it."""
    line = (str(error).strip().splitlines() or [repr(error)])[-1]
    for prefix in (f"{InputError.__module__}.{InputError.__name__}: ", UNAVAILABLE):
        line = line.removeprefix(prefix).strip()
    return line

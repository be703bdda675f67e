"""Loading a configuration by path or by installed name, with overrides."""

import ast
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from diffenc_jax.config.config import Config, flatten
from diffenc_jax.config.keys import Key, find_key, unknown_key
from diffenc_jax.config.recipe import recipe, with_changes
from diffenc_jax.core.errors import InputError, perhaps, require

_PACKAGE = Path(__file__).parents[1]
# A wheel holds the configurations within the package; a checkout beside it.
CONFIGS = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"

# Beginnings and parts of the libraries' messages.
NO_CONFIG = "has no attribute 'get_config'"
UNAVAILABLE = "Configuration is not available because of an earlier failure to load:"


def load_config(spec: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration that `--config=SPEC` gives; raises InputError unless there is one with these values.

    Args:
      spec: path of a configuration file, or name of an installed one, with the arm after a colon:
        'configs/cifar10.py:vdm-8', 'cifar10:vdm-8', 'digits'.
      overrides: changes of single keys, such as 'train.steps=100'.
    """
    argument = f"--config={_file(spec)}"
    try:
        plain = _load([argument]).to_dict()
    except Exception as error:  # a configuration file is a program and may raise anything
        raise InputError(f"--config={spec}: {_last_line(error)}") from error
    known = flatten(plain)
    for key in (override.partition("=")[0] for override in overrides):
        require(any(f"{name}.".startswith(f"{key}.") for name in known), unknown_key(key, known))
    require(
        not any(override.startswith("arm=") for override in overrides),
        f"--config.arm would change the arm's name alone; choose an arm by --config={spec.partition(':')[0]}:ARM",
    )
    last = dict(override.partition("=")[::2] for override in overrides)
    nones = [key for key, value in last.items() if _is_none(key, value)]
    given = [override for override in overrides if override.partition("=")[0] not in nones]
    try:
        config = _load([argument, *(f"--config.{override}" for override in given)])
    except Exception as error:  # as many types as there are ways to misread a value
        raise InputError(_wrong_value(argument, given, known) or _last_line(error)) from error
    parsed = Config.parse(with_changes(config, dict.fromkeys(nones)))
    require(
        all(name and "/" not in name for name in (parsed.name, parsed.arm)),
        f"name={parsed.name!r} and arm={parsed.arm!r} are parts of a folder's name; take words without '/'",
    )
    return parsed


def read_changes(texts: Sequence[str]) -> dict[str, Any]:
    """Values by key of changes such as 'loss.depth=10', for `Config.replace`; raises InputError for unknown keys."""
    changes = {}
    for key, value in (text.partition("=")[::2] for text in texts):
        definition = find_key(Config, key)
        if definition is None:
            raise InputError(unknown_key(key, flatten(recipe("recipe", "diffenc").to_dict())))
        changes[key] = None if _is_none(key, value) else _read(value, is_text=set(definition.types) <= {str, NoneType})
    return changes


def _read(value: str, is_text: bool) -> Any:
    """The number, truth value or tuple that `value` is written as, or else the text itself."""
    if is_text:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def installed_configs() -> list[str]:
    """Names of the installed configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem != "__init__")


def _file(spec: str) -> str:
    """`spec` with the path of the file in place of an installed name; raises InputError if there is no such file."""
    name, colon, arm = spec.partition(":")
    if name in installed_configs():
        return f"{CONFIGS / name}.py{colon}{arm}"
    if os.path.isdir(name):
        what = "is a folder, not a configuration"
    elif os.path.isfile(name):
        what = "" if name.endswith(".py") else "is no configuration, which is a file of Python (.py)"
    else:
        what = f"is neither an installed configuration nor a file{perhaps(name, installed_configs())}"
    require(not what, f"--config={spec} {what}; {_advice()}")
    return spec


def _advice() -> str:
    return f"give one of {', '.join(installed_configs())}, or a file such as configs/digits.py"


def _is_none(key: str, value: str) -> bool:
    """Whether `value` is None, for a key that allows it. config_flags would read it as text, or refuse it."""
    definition = find_key(Config, key)
    return value == "None" and definition is not None and bool(definition.none)


def _wrong_value(argument: str, overrides: Sequence[str], plain: Mapping[str, Any]) -> str | None:
    """Message about the first override whose value cannot be read; None if each can be read by itself."""
    for override in overrides:
        key, _, value = override.partition("=")
        try:
            _load([argument, f"--config.{override}"])
        except Exception:  # noqa: BLE001  see `load_config`
            if key not in plain:
                return f"{key} must be a section of keys, not {value!r}"
            definition = find_key(Config, key) or Key("", None, type=type(plain[key]))
            expected = "a tuple" if isinstance(plain[key], tuple) else definition.expected
            return f"{key} must be {expected}{definition.or_none}, not {value!r}{_in_digits(definition, value)}"
    return None


def _in_digits(definition: Key, value: str) -> str:
    """'; write 1000000' for the value 1e6 of a whole number, or ''."""
    try:
        number = float(value)
    except ValueError:
        return ""
    is_meant = int in definition.types and number.is_integer() and abs(number) < 2**31
    return f"; write {int(number)}" if is_meant else ""


def _load(arguments: list[str]) -> ConfigDict:
    sys.modules.pop("config_config", None)  # where config_flags would find what another file has defined
    values, argv = flags.FlagValues(), ["", *arguments]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    values(argv)
    config = values.config
    getattr(config, "items", None)  # the first use of a configuration that could not be loaded raises the error
    if not isinstance(config, ConfigDict):  # the repr of a ConfigDict takes longer than to load it
        raise InputError(f"get_config() must return a ConfigDict, not {config!r}")
    return config


def _last_line(error: Exception) -> str:
    """The error itself, without the traceback and the introduction that config_flags puts before it."""
    line = (str(error).strip().splitlines() or [repr(error)])[-1]
    for prefix in (f"{InputError.__module__}.{InputError.__name__}: ", UNAVAILABLE):
        line = line.removeprefix(prefix).strip()
    return f"it defines no get_config(), so it is no configuration; {_advice()}" if NO_CONFIG in line else line

"""Loading a configuration by path or by installed name, with overrides."""

import ast
import importlib.util
import os
from collections.abc import Mapping, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, cast, get_origin

from ml_collections import ConfigDict

from diffenc_jax.config.changes import changed
from diffenc_jax.config.config import Config
from diffenc_jax.config.recipe import recipe
from diffenc_jax.config.schema import find_key, flatten, unknown_key
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError, perhaps, require
from diffenc_jax.core.keys import REQUIRED, Key

_PACKAGE = Path(__file__).parents[1]
# A wheel holds the configurations within the package; a checkout beside it.
CONFIGS = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
# Sections that hold only keys of a part, whose name stands elsewhere.
OPTIONS = tuple(f"{kind.section}." for kind in parts.KINDS.values() if kind.section not in kind.name_key)
_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def load_config(spec: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration that `--config=SPEC` gives; raises InputError unless there is one with these values.

    Args:
      spec: path of a configuration file, or name of an installed one, with the arm after a colon:
        'configs/cifar10.py:vdm-8', 'cifar10:vdm-8', 'digits'.
      overrides: changes of single keys, such as 'train.steps=100'.
    """
    file, colon, arm = _file(spec).partition(":")
    try:
        values = _get_config(file, [arm] if colon else [])
    except Exception as error:  # a configuration file is a program and may raise anything
        raise InputError(f"--config={spec}: {_last_line(error)}") from error
    require(
        not any(override.startswith("arm=") for override in overrides),
        f"--config.arm would change only the arm's name; choose an arm by --config={spec.partition(':')[0]}:ARM",
    )
    config = Config.parse(changed(values, read_overrides(values, overrides)))
    parts.allow_named(flatten(config.to_dict()))
    require(
        all(name and "/" not in name for name in (config.name, config.arm)),
        f"name={config.name!r} and arm={config.arm!r} are parts of a folder's name; take words without '/'",
    )
    return config


def read_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Changes by key of nested values, from texts such as 'loss.depth=10', the last one of each key."""
    flat, texts = flatten(values), dict(override.partition("=")[::2] for override in overrides)
    return {path: _read(path, text, flat) for path, text in texts.items()}


def read_changes(overrides: Sequence[str]) -> dict[str, Any]:
    """Changes by key of a stored configuration, of which no parts of the model are changed; raises InputError."""
    for path in (override.partition("=")[0] for override in overrides):
        if find_key(Config, path) is None and not path.startswith(OPTIONS):
            raise InputError(unknown_key(path, flatten(recipe("recipe", "diffenc").to_dict())))
    return read_overrides({}, overrides)


def _read(path: str, text: str, flat: Mapping[str, Any]) -> Any:
    """The value of a key that `text` stands for; raises InputError for a value that the key cannot have."""
    definition, before = find_key(Config, path), flat.get(path)
    is_of_part = definition is None and isinstance(before, int | float | str)
    if is_of_part:  # its class need not be imported: the value that it has tells the type
        definition = Key("", REQUIRED, type=type(before))
    if definition is None:
        return _literal(text)
    if definition.none and text == "None":
        return None
    kinds = set(definition.types) - {NoneType}
    value = _TRUTH.get(text.lower(), text) if kinds == {bool} else text if kinds == {str} else _literal(text)
    if get_origin(definition.type) is tuple and isinstance(value, int | float):
        value = (value,)
    is_meant = isinstance(value, float) and int in kinds and value.is_integer() and abs(value) < 2**31
    advice = f"; write {int(value)}" if is_meant else ""
    require(not advice, f"{path} must be {definition.expected}{definition.or_none}, not {text!r}{advice}")
    return definition.checked(path, value) if is_of_part else value


def _literal(text: str) -> Any:
    """The number, tuple or mapping that `text` is written as, or else the text itself."""
    for read in (ast.literal_eval, float):  # the latter for inf and nan
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
    return text


def installed_configs() -> list[str]:
    """Names of the installed configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem != "__init__")


def installed(name: str) -> ModuleType:
    """The module of an installed configuration, on which another one may build."""
    return _module(str(CONFIGS / f"{name}.py"))


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


def _get_config(file: str, arm: list[str]) -> dict[str, Any]:
    """The values that the function `get_config` of a file returns."""
    module = _module(file)
    missing = f"{file}: it defines no get_config(), so it is no configuration; {_advice()}"
    require(hasattr(module, "get_config"), missing)
    config = module.get_config(*arm)
    require(isinstance(config, ConfigDict), f"get_config() must return a ConfigDict, not {config!r}")
    return config.to_dict()


def _module(file: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location("diffenc_jax_configuration", file)
    module = importlib.util.module_from_spec(cast(ModuleSpec, specification))
    cast(Loader, module.__loader__).exec_module(module)
    return module


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[-1]

"""Loading a configuration by path or by installed name, with overrides."""

from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from diffenc_jax.config.changes import changed
from diffenc_jax.config.config import Config
from diffenc_jax.config.recipe import recipe
from diffenc_jax.config.schema import every_key, flatten, unknown_key
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError, require, suggestion, without_exit
from diffenc_jax.core.keys import REQUIRED, Key, literal

_PACKAGE = Path(__file__).parents[1]
# A wheel holds the configurations within the package; a checkout beside it.
CONFIGS = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
# Sections with keys of parts; which keys these are depends on the part.
OPTIONS = tuple(f"{kind.section}." for kind in parts.kinds().values() if kind.section)
_KEYS = dict(every_key(Config))
Changes = Mapping[str, Any] | Sequence[str]


def load_config(spec: str, changes: Changes = ()) -> Config:
    """The configuration of `--config=SPEC`; raises InputError if there is none, or a value is not allowed.

    Args:
      spec: path of a configuration file, or name of an installed configuration, with the arm after a colon:
        'configs/cifar10.py:vdm-8', 'cifar10:vdm-8', 'digits'.
      changes: other values by key, {"train.steps": 100}, or as texts, ["train.steps=100"].
    """
    name, colon, arm = spec.partition(":")
    path = CONFIGS / f"{name}.py" if name in installed_configs() else Path(name)
    advice = f"give one of {', '.join(installed_configs())}, or a file such as configs/digits.py"
    is_file = path.suffix == ".py" and path.is_file()
    require(is_file, f"--config={spec} is no configuration{suggestion(name, installed_configs())}; {advice}")
    try:
        with without_exit():
            values = parts.allowed(_module(path).get_config(*([arm] if colon else [])).to_dict())
    except Exception as error:  # a configuration file is a program and may raise anything
        raise InputError(f"--config={spec}: {(str(error).strip().splitlines() or [repr(error)])[-1]}") from error
    given = parts.allowed(changes if isinstance(changes, Mapping) else read_overrides(values, changes))
    require("arm" not in given, f"--config.arm would change only the arm's name; choose an arm by --config={name}:ARM")
    return Config.parse(changed(values, given))


def read_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Changes by key of nested values, from texts such as 'loss.depth=10'; the last text of a key counts."""
    flat, texts = flatten(values), dict(override.partition("=")[::2] for override in overrides)
    return {path: _read(path, text, flat.get(path)) for path, text in texts.items()}


def read_changes(overrides: Sequence[str]) -> dict[str, Any]:
    """Changes by key of a stored configuration, from texts; raises InputError for an unknown key.

    Keys of parts are not checked here, because the stored configuration names the parts.
    """
    for path in (override.partition("=")[0] for override in overrides):
        if path not in _KEYS and not path.startswith(OPTIONS):
            raise InputError(unknown_key(path, flatten(recipe("recipe", "diffenc").to_dict())))
    return read_overrides({}, overrides)


def _read(path: str, text: str, before: Any) -> Any:
    """Parse the text of a key, whose present value is `before`; `Config` checks the result."""
    definition = _KEYS.get(path)
    if definition is None and isinstance(before, int | float | str):
        # The present value of a part's key tells its type, so that the part need not be imported.
        definition = Key("", REQUIRED, type=type(before))
        return definition.checked(path, definition.read(text))
    return literal(text) if definition is None else definition.read(text)


def installed_configs() -> list[str]:
    """Names of the installed configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem != "__init__")


def installed(name: str) -> ModuleType:
    """The module of an installed configuration, so that another configuration may build on it."""
    return _module(CONFIGS / f"{name}.py")


def _module(path: Path) -> ModuleType:
    module, module.__file__ = ModuleType("diffenc_jax_configuration"), str(path)
    SourceFileLoader(module.__name__, str(path)).exec_module(module)
    return module

"""Parts: the encoders, networks, schedules, estimators, ... that a configuration names.

A part is a class, or for some kinds an object. It is named by a short name of a table, or by its import path, such as
"my_package.encoders:Fading". The kinds and the parts of this package stand in `tables`; an installed package announces
its own parts by entry points of the group `GROUP`, such as

  [project.entry-points."diffenc_jax.parts"]
  "encoder.fading" = "my_package.encoders:Fading"

A part is imported when it is built. A part that is named by its import path is imported only if an installed package
announces it, or if the name is `Allowed`: the user gives it in a configuration or in changes, or allows its package.
A name that is read from a file is plain text and not allowed, so that a user who opens a run need not trust the person
who trained it.
"""

import importlib
import os
import re
import sys
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from etils import epy

from diffenc_jax.core.errors import InputError, first_line, lookup, refusing, require, suggestion
from diffenc_jax.core.keys import REQUIRED, Key, join, keys_of

with epy.lazy_imports():  # a third of the time of a command's help
    from importlib import metadata

    from diffenc_jax.core import sources

GROUP = "diffenc_jax.parts"
PACKAGE = Path(__file__).parents[1]
IMPORT_PATH = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")


class Allowed(str):
    """Name of a part whose module may be imported, if it is an import path. It equals the same name as plain text."""


class Kind(NamedTuple):
    """A kind of parts.

    Attributes:
      what: the kind in messages.
      base: import path of a class. Parts of this kind are its subclasses or, if they are `objects`, its instances.
      name_key: key of the configuration that names a part, or several in a tuple; "" if none does.
      section: section of the configuration with the part's own keys; "" if it has none.
      objects: whether the parts are objects, such as functions, and not classes.
      libraries: modules whose functions are parts as well, named by their import paths.
      commands: whether instances of the parts are commands; they have the attributes of a command's module.
    """

    what: str
    base: str
    name_key: str = ""
    section: str = ""
    objects: bool = False
    libraries: tuple[str, ...] = ()
    commands: bool = False


class Entry(NamedTuple):
    """A part of a table.

    Attributes:
      target: its import path, "package.module:Name", or the module of a command.
      network: name of the network that the part holds, of the kind "network"; "": the part's own `network_kind`.
      summary: a line for the list of commands, if it is a command.
      computes: whether it trains or evaluates networks in this process.
    """

    target: str
    network: str = ""
    summary: str = ""
    computes: bool = True


@cache
def tables() -> list[Any]:
    """The modules with `KINDS` and `PARTS`: `commands/table.py` of the library, and `lab/table.py` of the lab."""
    files = sorted(PACKAGE.glob("*/table.py"))
    return [importlib.import_module(f"{PACKAGE.name}.{file.parent.name}.table") for file in files]


@cache
def kinds() -> dict[str, Kind]:
    """All kinds of parts by name."""
    return {name: kind for table in tables() for name, kind in table.KINDS.items()}


def is_import_path(name: str) -> bool:
    """Whether a name is the import path of a part, "package.module:Name"."""
    return IMPORT_PATH.fullmatch(name) is not None and not name.startswith("tfds:")


def load(kind: str, name: str) -> Any:
    """The part of this name.

    Raises InputError if there is no such part, if it may not or cannot be imported, or if it is not of this kind.
    """
    of = kinds()[kind]
    given = f"{of.name_key or of.what}={name}"
    if is_import_path(name):
        package, announced = package_of(name), {entry.target for entry in entries(kind).values()}
        advice = f"if you trust {package}, give --plugins={package}, or plugins=[{package!r}] in Python"
        stored = f"the stored configuration names {given}, whose code runs only if you allow it; {advice}"
        require(isinstance(name, Allowed) or name in announced, stored)
    part, wanted = _import(entry(kind, name).target, given), _import(of.base, given)
    fits = isinstance(part, wanted) if of.objects else isinstance(part, type) and issubclass(part, wanted)
    must = f"{'an object' if of.objects else 'a subclass'} of {of.base.replace(':', '.')}"
    require(fits, f"{given} is no {of.what}, which is {must}; name another part")
    return part


def digest(kind: str, name: str) -> str | None:
    """`sources.outside_digest` of the sources of a part and of the network that it holds."""
    network = network_of(kind, name)
    return sources.outside_digest([entry(kind, name).target, *([entry("network", network).target] if network else [])])


def entry(kind: str, name: str) -> Entry:
    """The entry of the part of this name in its table; raises InputError if there is none."""
    if is_import_path(name):
        return Entry(name)
    for library in () if name in entries(kind) else kinds()[kind].libraries:
        perhaps = f"unknown {kind} {name!r}, perhaps {library}:{name}"
        require(not hasattr(importlib.import_module(library), name), perhaps)
    return lookup(kinds()[kind].what, name, entries(kind))


def network_of(kind: str, name: str) -> str:
    """Name of the network that a part holds, which is allowed because the part is; "" if it holds none."""
    return Allowed(entry(kind, name).network or getattr(load(kind, name), "network_kind", ""))


def keys(kind: str, name: str) -> dict[str, Key]:
    """Definitions of the keys of a part by name: its own, then those of the network that it holds."""
    part = load(kind, name)
    own, network = keys_of(getattr(part, "Options", part)), network_of(kind, name)
    return own | (keys_of(load("network", network)) if network else {})


def options(kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The checked values by key of a part; raises InputError if one is unknown, missing or not allowed.

    Keys with a default may be absent, so that a part can have new ones without a change of any stored configuration.
    """
    definitions, name_key, section = keys(kind, name), kinds()[kind].name_key, kinds()[kind].section
    defaults = {name: key.default for name, key in definitions.items() if key.default is not REQUIRED}
    given = defaults | dict(given)
    unknown, missing = sorted(given.keys() - definitions), sorted(definitions.keys() - given)
    part = f"{name_key}={name}"
    advice = f"it has {', '.join(definitions) or 'none'}; choose an arm with this kind, or give the whole section"
    require(not unknown, f"{part} has no keys {', '.join(unknown)}; {advice} {section}")
    require(not missing, f"{part} needs the keys {', '.join(missing)} as well; add them to the section {section}")
    return {name: key.checked(f"{section}.{name}", given[name]) for name, key in definitions.items()}


def allowed(values: Mapping[str, Any], packages: Collection[str] | None = None, path: str = "") -> dict[str, Any]:
    """A copy of values by key, which may be nested, in which import paths of parts are `Allowed`.

    Args:
      values: the values.
      packages: packages whose parts are allowed. None: all packages, for values that the user has given.
      path: path of the section that has these keys.
    """
    result, name_keys = dict(values), {kind.name_key for kind in kinds().values()}
    for name, value in values.items():
        key = join(path, name)
        if isinstance(value, Mapping):
            result[name] = allowed(value, packages, key)
        elif key in name_keys:
            several = isinstance(value, tuple | list)
            result[name] = tuple(_allowed(one, packages) for one in value) if several else _allowed(value, packages)
    return result


def _allowed(name: Any, packages: Collection[str] | None) -> Any:
    is_allowed = isinstance(name, str) and is_import_path(name) and (packages is None or package_of(name) in packages)
    return Allowed(name) if is_allowed else name


def packages_of(values: Mapping[str, Any]) -> set[str]:
    """The packages of all `Allowed` names among values by key."""
    names = (value if isinstance(value, tuple) else (value,) for value in values.values())
    return {package_of(name) for name in chain.from_iterable(names) if isinstance(name, Allowed)}


def package_of(import_path: str) -> str:
    """The package of a part by its import path: 'own_parts' of 'own_parts.encoder:Fading'."""
    return import_path.partition(":")[0].partition(".")[0]


def trying(outside: Collection[str]) -> AbstractContextManager[None]:
    """Context that turns any error into an InputError with the names `outside` of other packages' parts, if any."""
    return refusing(f"{', '.join(outside)} cannot be used", "see docs/extending.md") if outside else nullcontext()


@cache
def own(kind: str) -> dict[str, Entry]:
    """The parts of a kind in `tables` by short name."""
    return {name: entry for table in tables() for name, entry in table.PARTS.get(kind, {}).items()}


@cache
def entries(kind: str) -> dict[str, Entry]:
    """All parts of a kind by short name, the package's own first; raises InputError if two have one name."""
    entries = dict(own(kind))
    for point in metadata.entry_points(group=GROUP):
        of, _, name = point.name.partition(".")
        if of == kind:
            other = entries.get(name, Entry(point.value)).target
            require(other == point.value, f"two installed parts are called {point.name}: {other} and {point.value}")
            entries[name] = Entry(point.value)
    return entries


def _import(path: str, given: str) -> Any:
    """The object at an import path; raises InputError, which names what was `given`."""
    module, _, attribute = path.partition(":")
    with refusing(f"{given}: {module} cannot be imported"):  # a module is a program and may raise anything
        try:
            imported = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module.partition(".")[0] or os.getcwd() in sys.path:
                raise InputError(f"{given}: {first_line(error)}; install it, or start where its file is") from error
            sys.path.append(os.getcwd())  # where `python -m` finds modules, and a console script does not
            return _import(path, given)
    known = [name for name in vars(imported) if not name.startswith("_")]
    near, some = suggestion(attribute, known), ", ".join(known[:20])
    require(hasattr(imported, attribute), f"{given}: {module} has no {attribute}{near}; it has {some}")
    return getattr(imported, attribute)

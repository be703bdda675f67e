"""Digests of the sources of parts that are not this package's, such as an encoder of one's own."""

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

from diffenc_jax.core.versions import OURS, PACKAGES

UNKNOWN = "unknown"
INSTALLED = {"site-packages", "dist-packages"}  # folders of installed packages
STANDARD = Path(sysconfig.get_path("stdlib"))
distributions = cache(packages_distributions)  # names of the installed distributions by package


def outside_digest(parts: Iterable[Any]) -> str | None:
    """Twelve hexadecimal digits, a digest of the sources of the parts that are not this package's.

    It covers the file of each part's module, and all files that this file imports by import statements, directly or
    through other files. Modules that function calls or `from package import *` import are not
    covered. Comments, layout and the version of Python do not count. An installed package counts by its name and
    version, except for those that a record names in its 'software'.

    Args:
      parts: places, such as "package.module:Name", classes, functions and other objects.

    Returns:
      The digest; None if all parts are of this package; `UNKNOWN` if a part has no file, as in a notebook.
    """
    covered: dict[str, str] = {}
    for part in parts:
        if isinstance(part, str):
            module = part.partition(":")[0]
        else:
            module = (part if inspect.isroutine(part) or isinstance(part, type) else type(part)).__module__
        if module.partition(".")[0] != OURS:
            _cover(module, _file_of(module), covered)
            if covered[module] == UNKNOWN:
                return UNKNOWN
    return hashlib.sha256("\n".join(sorted(covered.values())).encode()).hexdigest()[:12] if covered else None


def _cover(module: str, file: str, covered: dict[str, str]) -> None:
    """Add the contents of a module's file, and of all files that it imports, to `covered`, by module.

    Of an installed package the name and version stand for the contents.
    """
    try:
        content = Path(file).read_bytes()
    except OSError:
        covered[module] = UNKNOWN
        return
    covered[module] = hashlib.sha256(content).hexdigest()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a compiled extension, or no Python
        return
    with suppress(RecursionError):  # the layout of a file counts if its expressions are nested deeply
        covered[module] = repr(_plain(tree))
    package = module if Path(file).stem == "__init__" else module.rpartition(".")[0]
    for other in dict.fromkeys([*_with_packages(package), *_imported(tree, package)]):
        top, found = other.partition(".")[0], _file_of(other)
        is_installed = bool(INSTALLED & {*Path(found).parts})
        if other in covered or top == OURS or not found or (STANDARD in Path(found).parents and not is_installed):
            continue
        installed = distributions().get(top, []) if is_installed else []
        covered |= {name: f"{name} {version(name)}" for name in installed if name not in PACKAGES.split()}
        if not installed:
            _cover(other, found, covered)


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Names of modules that the import statements in a file of `package` may mean, each preceded by its packages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            yield from _with_packages(name)


def _with_packages(module: str) -> Iterator[str]:
    """Names of the packages that contain a module, the outermost first, and the module's own name."""
    return accumulate(module.split("."), "{}.{}".format)


def _file_of(module: str) -> str:
    """The file of a module, found without importing the module; "" if there is none."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None) or ""
    spec = _spec_of(module)
    return (spec.origin or "") if spec is not None and spec.has_location else ""


def _spec_of(module: str) -> ModuleSpec | None:
    """Specification of a module, found without importing it or its packages; None if there is no such module."""
    spec: ModuleSpec | None = None
    for name in _with_packages(module):
        try:
            inside = None if spec is None else spec.submodule_search_locations or []
            found = find_spec(name) if inside is None else PathFinder.find_spec(name, inside)
        except ValueError:  # __main__
            return None
        if found is None:
            return None
        spec = found
    return spec


def _plain(node: Any) -> Any:
    """A syntax tree as tuples, without positions, and without empty fields, of which newer Pythons add more."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty texts
            fields = [("values", [value for value in node.values if getattr(value, "value", "") != ""])]
        return type(node).__name__, *((name, _plain(value)) for name, value in fields)
    return tuple(map(_plain, node)) if isinstance(node, list) else node

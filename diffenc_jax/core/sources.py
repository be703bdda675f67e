"""Digests of the sources of parts that are not this package's, such as an encoder of one's own."""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder
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

    It covers the file of each part's module and every file that this file imports, directly or through other files. It
    follows import statements, but no calls of import functions; `from package import *` counts as the package without
    its modules. Comments, layout and the version of Python do not count. An installed package counts by its name and
    version. A package that a record names in its 'software' does not count.

    Args:
      parts: places, such as "package.module:Name", classes, functions and other objects.

    Returns:
      The digest; None if all parts are of this package; `UNKNOWN` if a part has no file, as in a notebook.
    """
    covered: dict[str, str] = {}
    for part in parts:
        module = part.partition(":")[0] if isinstance(part, str) else part.__module__
        if module.partition(".")[0] != OURS:
            _cover(module, _file_of(module), covered)
            if covered[module] == UNKNOWN:
                return UNKNOWN
    return hashlib.sha256("\n".join(sorted(covered.values())).encode()).hexdigest()[:12] if covered else None


def _cover(module: str, file: str, covered: dict[str, str]) -> None:
    """Add the contents of a module's file, and of all files that it imports, to `covered`, by module.

    For an installed package, its name and version are added instead.
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
    """The file of a module, found without importing the module or its packages; "" if there is none."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None) or ""
    top, *inner = _with_packages(module)
    with suppress(ValueError):  # a module without a specification, such as __main__
        spec = find_spec(top)
        for name in inner:
            spec = PathFinder.find_spec(name, spec.submodule_search_locations or []) if spec else None
        return (spec.origin or "") if spec and spec.has_location else ""
    return ""


def _plain(node: Any) -> Any:
    """A syntax tree as tuples, without positions or empty fields, of which newer versions of Python have more."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty texts
            fields = [("values", [value for value in node.values if getattr(value, "value", "") != ""])]
        return type(node).__name__, *((name, _plain(value)) for name, value in fields)
    return tuple(map(_plain, node)) if isinstance(node, list) else node

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
from importlib.util import find_spec, resolve_name
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
      parts: import paths, such as "package.module:Name", classes, functions and other objects.

    Returns:
      The digest; None if all parts are of this package; `UNKNOWN` if a part has no file, as in a notebook, or if a file
      is gone.
    """
    covered: dict[str, str] = {}
    modules = {part.partition(":")[0] if isinstance(part, str) else part.__module__ for part in parts}
    try:
        for module in modules:
            if module.partition(".")[0] != OURS:
                _cover(module, covered)
    except OSError:
        return UNKNOWN
    return hashlib.sha256("\n".join(sorted(covered.values())).encode()).hexdigest()[:12] if covered else None


def _cover(module: str, covered: dict[str, str]) -> None:
    """Add to `covered`, by name, the source of a module, of its packages and of all that these import.

    Raises OSError if a file is gone.
    """
    file = _file_of(module)
    content = Path(file).read_bytes()
    covered[module] = hashlib.sha256(content).hexdigest()
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # a compiled extension, or no Python
        tree, package = ast.parse(content), module if Path(file).stem == "__init__" else module.rpartition(".")[0]
        for name in [module, *_imported(tree, package)]:
            for other in accumulate(name.split("."), "{}.{}".format):
                if other not in covered:
                    _cover_imported(other, covered)
        covered[module] = repr(_plain(tree))  # fails if expressions are nested deeply: then the layout counts


def _cover_imported(module: str, covered: dict[str, str]) -> None:
    """`_cover`, unless the module is this package's or Python's; an installed package's name and version are added."""
    top, file = module.partition(".")[0], _file_of(module)
    if INSTALLED & {*Path(file).parts} and (names := distributions().get(top)):
        covered |= {name: f"{name} {version(name)}" for name in names if name not in PACKAGES.split()}
    elif file and top != OURS and (STANDARD not in Path(file).parents or INSTALLED & {*Path(file).parts}):
        _cover(module, covered)


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Names of modules that the import statements in a file of `package` may mean."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _file_of(module: str) -> str:
    """The file of a module, found without importing the module or its packages; "" if there is none."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None) or ""
    top, *inner = module.split(".")
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

"""Digests of the sources of classes and functions that are not this package's, such as an encoder of one's own."""

import ast
import hashlib
import inspect
import linecache
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

PACKAGE = __name__.partition(".")[0]
UNKNOWN = "unknown"


def outside_digest(parts: Iterable[Any]) -> str | None:
    """Twelve hexadecimal digits, a digest of the sources of the classes and functions that are not this package's.

    It covers the modules that define them and, among what these import, the modules of the same package or of the same
    folder. Comments and layout do not count. It cannot cover what is texts by its name at run time.

    Returns:
      The digest; None if all are of this package; `UNKNOWN` if there is no source.
    """
    named = [part if inspect.isroutine(part) or isinstance(part, type) else type(part) for part in parts]
    outside = [part for part in named if part.__module__.partition(".")[0] != PACKAGE]
    if not outside:
        return None
    texts: dict[str, str] = {}
    for part in outside:
        file = _file(part)
        if not _text(file):
            return UNKNOWN
        _add(texts, file, part.__module__)
    return hashlib.sha256("\n".join(f"{name} {text}" for name, text in sorted(texts.items())).encode()).hexdigest()[:12]


def _file(part: Any) -> str:
    """The file, or the cell of a notebook, of a class or function."""
    members = vars(part).values() if isinstance(part, type) else [part]
    codes = [getattr(inspect.unwrap(member), "__code__", None) for member in members if callable(member)]
    names = [code.co_filename for code in codes if code is not None and _text(code.co_filename)]
    return names[0] if names else _file_of(part.__module__)


def _file_of(module: str) -> str:
    return getattr(sys.modules.get(module), "__file__", None) or ""


def _text(file: str) -> str:
    """The source of a file, or of a cell of a notebook; empty without one."""
    linecache.checkcache(file)
    return "".join(linecache.getlines(file))


def _add(texts: dict[str, str], file: str, module: str) -> None:
    """Add the source of `module`, and of those of its package or its folder that it imports."""
    if module in texts:
        return
    tree = ast.parse(_text(file))
    texts[module] = ast.unparse(tree)
    package, folder = module.partition(".")[0], os.path.dirname(file)
    for name in _imported(tree, module):
        other = _file_of(name)
        if other.endswith(".py") and (name.partition(".")[0] == package or os.path.dirname(other) == folder):
            _add(texts, other, name)


def _imported(tree: ast.Module, module: str) -> Iterator[str]:
    """Full names of modules that a module may import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (source, *(f"{source}.{alias.name}" for alias in node.names))

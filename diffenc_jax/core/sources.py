"""Digests of the sources of classes and functions that are not this package's, such as an encoder of one's own."""

import ast
import hashlib
import inspect
import linecache
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]
STANDARD = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
INSTALLED = {"site-packages", "dist-packages"}  # folders
UNKNOWN = "unknown"


def outside_digest(parts: Iterable[Any]) -> str | None:
    """Twelve hexadecimal digits, a digest of the sources of the classes and functions that are not this package's.

    It covers what they need of the module that defines them, and whole modules that these import, if they are of the
    same package or installed nowhere. Comments and layout do not count. It cannot cover what is texts by its name at
    run time, or what a program without a source file, such as an interactive one, has defined elsewhere.

    Returns:
      The digest; None if all are of this package; `UNKNOWN` if there is no source.
    """
    named = [part if inspect.isroutine(part) or isinstance(part, type) else type(part) for part in parts]
    outside = [part for part in named if part.__module__.partition(".")[0] != PACKAGE]
    if not outside:
        return None
    texts: dict[str, str] = {}
    for part in outside:
        if not (text := _text(_file(part))):
            return UNKNOWN
        module = ast.parse(text)
        # A class that a function makes is in that function; one that was renamed may be anywhere.
        statements = _needed(module, part.__qualname__.partition(".")[0]) or module.body
        _add(texts, part.__qualname__, statements, part.__module__)
    return hashlib.sha256("\n".join(f"{name} {text}" for name, text in sorted(texts.items())).encode()).hexdigest()[:12]


def _file(part: Any) -> str:
    """The file of a class or function, which may no longer be that of the module of its name."""
    members = vars(part).values() if isinstance(part, type) else [part]
    codes = [getattr(inspect.unwrap(member), "__code__", None) for member in members if callable(member)]
    names = [code.co_filename for code in codes if code is not None and _text(code.co_filename)]
    return names[0] if names else getattr(sys.modules.get(part.__module__), "__file__", None) or ""


def _text(name: str) -> str:
    """The source of a file, or of a cell of a notebook; empty without one."""
    linecache.checkcache(name)
    return "".join(linecache.getlines(name))


def _needed(module: ast.Module, name: str) -> list[ast.stmt]:
    """The statements of a module that `name` needs, directly or through others, in their order."""
    binding: dict[str, list[ast.stmt]] = {}
    for statement in module.body:
        for bound in _bound(statement):
            binding.setdefault(bound, []).append(statement)
    needed, names = set(), [name]
    while names:
        for statement in binding.get(names.pop(), ()):
            if statement not in needed:
                needed.add(statement)
                names += [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return [statement for statement in module.body if statement in needed]


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The name of a definition; all names in another statement, as it may define or change what they stand for."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id


def _add(texts: dict[str, str], name: str, statements: list[ast.stmt], module: str) -> None:
    """Add statements of `module` under `name`, and the modules that they import."""
    if name in texts:
        return
    texts[name] = "\n".join(map(ast.unparse, statements))
    for imported in {name for statement in statements for name in _imported(statement, module)}:
        if file := _file_that_counts(sys.modules.get(imported), module):
            _add(texts, imported, ast.parse(_text(file)).body, imported)


def _imported(statement: ast.stmt, module: str) -> Iterator[str]:
    """Full names of modules that a statement of `module` may import."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _file_that_counts(imported: ModuleType | None, module: str) -> str:
    """The file of a module that `module` imports, if it is of the same package or installed nowhere; else empty."""
    file = getattr(imported, "__file__", None) or ""
    if imported is None or not file.endswith(".py"):
        return ""
    top = imported.__name__.partition(".")[0]
    is_installed = file.startswith(STANDARD) or not INSTALLED.isdisjoint(Path(file).parts)
    return file if top != PACKAGE and (top == module.partition(".")[0] or not is_installed) else ""

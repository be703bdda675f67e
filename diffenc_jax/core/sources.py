"""Digests of the sources of classes and functions that are not this package's, such as an encoder of one's own."""

import ast
import hashlib
import inspect
import linecache
import sys
from collections.abc import Iterable
from typing import Any

PACKAGE = __name__.partition(".")[0]
UNKNOWN = "unknown"


def outside_digest(parts: Iterable[Any]) -> str | None:
    """Twelve hexadecimal digits, a digest of the sources of the classes and functions that are not this package's.

    It covers the files that define them, or the cells of a notebook. Comments and layout do not count, nor do other
    files that these import.

    Returns:
      The digest; None if all are of this package; `UNKNOWN` if there is no source.
    """
    named = [part if inspect.isroutine(part) or isinstance(part, type) else type(part) for part in parts]
    texts = [_text(part) for part in named if part.__module__.partition(".")[0] != PACKAGE]
    if not all(texts):
        return UNKNOWN
    plain = sorted({ast.unparse(ast.parse(text)) for text in texts})
    return hashlib.sha256("\n".join(plain).encode()).hexdigest()[:12] if plain else None


def _text(part: Any) -> str:
    """The source of the file or cell of a class or function; empty without one."""
    members = vars(part).values() if isinstance(part, type) else [part]
    codes = [getattr(inspect.unwrap(member), "__code__", None) for member in members if callable(member)]
    files = [code.co_filename for code in codes if code is not None]
    files.append(getattr(sys.modules.get(part.__module__), "__file__", None) or "")
    linecache.checkcache()
    return next(("".join(lines) for file in files if (lines := linecache.getlines(file))), "")

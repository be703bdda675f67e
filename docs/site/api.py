"""The list of public names in docs/api.md: signatures and first paragraphs of docstrings, from the code.

  python docs/site/api.py

writes it into the page; a test compares both.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import diffenc_jax

PAGE = Path(__file__).parents[1] / "api.md"
LIST = re.compile(r"(?<=<!-- names -->\n).*?(?=<!-- end of names -->)", re.DOTALL)
OF_LINEN = ("parent", "name")


def page() -> str:
    """The text of docs/api.md with the list of the code as it is."""
    names = [name for name in diffenc_jax.__all__ if name != "__version__"]
    lists = "\n".join(_list(f"dj.{name}", getattr(diffenc_jax, name)) for name in names)
    return LIST.sub(lambda _: f"\n{lists}\n", PAGE.read_text())


def _list(name: str, value: Any) -> str:
    """A public name, and the members of a class or a module, one per line."""
    node = _parsed(value)
    lines = "" if isinstance(node, ast.FunctionDef) else "".join(_lines(value, node))
    return f"### {name}\n\n{_entry(name, value, node)}\n" + (lines and f"\n{lines}")


def _lines(owner: Any, node: Any) -> Iterator[str]:
    """A line per member of a class or a module, and a line per property of a module's classes."""
    for member in filter(_is_shown, node.body):
        value = getattr(owner, member.name)
        yield f"- {_entry(member.name, value, member)}\n"
        for name, inner in vars(value).items() if isinstance(owner, ModuleType) else ():
            if isinstance(inner, property) and not name.startswith("_") and inner.__doc__:
                yield f"  - {_entry(name, inner, _parsed(inner.fget))}\n"


def _parsed(value: Any) -> Any:
    tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    return tree if isinstance(value, ModuleType) else tree.body[0]


def _is_shown(node: ast.stmt) -> bool:
    named = isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    return named and ast.get_docstring(node) is not None


def _entry(name: str, value: Any, node: Any) -> str:
    """A name with its arguments, and the first paragraph of its docstring."""
    text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    return f"`{name}{_arguments(value, node)}`: {text}"


def _arguments(value: Any, node: Any) -> str:
    """Fields of a class, arguments of a function without `self`, or the type of a property."""
    if isinstance(value, ModuleType) or (isinstance(value, type) and issubclass(value, Exception)):
        return ""
    if isinstance(value, type):
        fields = [field for field in inspect.signature(value).parameters.values() if field.name not in OF_LINEN]
        return f"({', '.join(field.name + ('' if field.default is field.empty else '=...') for field in fields)})"
    returned = ast.unparse(node.returns).strip("'")
    if not callable(value):
        return f": {returned}"
    node.args.args = [argument for argument in node.args.args if argument.arg not in ("self", "cls")]
    return f"({ast.unparse(node.args).replace('=', ' = ')}) -> {returned}"


if __name__ == "__main__":
    PAGE.write_text(page())

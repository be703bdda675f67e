"""An extension of Griffe: indented lines of docstrings, which are equations and examples, keep their line breaks."""

import re
import textwrap
from typing import Any

from griffe import Extension, Object

# A blank line or the heading of an example, and lines that begin with two spaces or more.
INDENTED = re.compile(r"(?:(?<=\n)|^(Example):)\n((?: {2,}\S.*(?:\n|\Z))+)", re.MULTILINE)


class Docstrings(Extension):
    """Make code blocks of indented paragraphs, and of the lines below "Example:"."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = INDENTED.sub(_code_block, obj.docstring.value)


def _code_block(match: re.Match[str]) -> str:
    lines = textwrap.indent(textwrap.dedent(match[2]), "    ")
    return f"{'**Example:**' if match[1] else ''}\n\n{lines}\n"

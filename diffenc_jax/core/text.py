"""Control characters in names and messages, which must not reach a terminal or a page.

A newline splits a line, an escape sequence moves the cursor or hides text, and marks of the direction of writing change
the order in which a text is shown.
"""

import re
from typing import Any

LONGEST = 1000  # most characters of a message; what it quotes may be longer
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Also surrogates: Python decodes the bytes of a file's name that are not Unicode to surrogates.
_ESCAPED = re.compile(f"{CONTROLS.pattern}|[\ud800-\udfff]")


def shortened(text: str) -> str:
    """`text`, without its middle if it is longer than `LONGEST` characters."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}"


def printable(text: str) -> str:
    """`text` on one line, with control characters escaped."""
    return _ESCAPED.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def printable_lines(text: str) -> str:
    """`text` with control characters escaped, except for the ends of its lines."""
    return "\n".join(map(printable, text.split("\n")))


def has_controls(value: Any) -> bool:
    """Whether a text, or any text in a value from a JSON file, holds control characters or surrogates."""
    if isinstance(value, str):
        return _ESCAPED.search(value) is not None
    if isinstance(value, dict):
        return any(has_controls(part) for item in value.items() for part in item)
    return isinstance(value, list) and any(map(has_controls, value))

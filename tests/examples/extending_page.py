"""The files that docs/extending.md shows."""

import re
import textwrap
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs/extending.md").read_text()


def shown(start):
    """The file of docs/extending.md whose docstring begins with `start`."""
    (code,) = re.findall(rf'^    """{re.escape(start)}.*?(?=^\S)', PAGE, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(code)

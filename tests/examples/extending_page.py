"""The files that docs/extending.md shows."""

import re
import textwrap

from tests import ROOT

PAGE = (ROOT / "docs/extending.md").read_text()


def shown(start):
    """The file of docs/extending.md whose docstring begins with `start`."""
    (code,) = re.findall(rf'^    """{re.escape(start)}.*?(?=^\S)', PAGE, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(code)

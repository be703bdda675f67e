"""The table of results in the README: overview.md, with a cell of a measured table in place of each {...}.

A cell is {result; table; row; head}: the name of the result, the number of the table among all tables of the result,
the row by its first cell, and the column by its head. The head `largest` stands for the largest number of the row.
"""

import re
from pathlib import Path
from typing import Any

from result_tables import in_markdown

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import lookup

TEMPLATE = Path(__file__).with_name("overview.md")


def overview(measured: dict[str, list[dict[str, Any]]]) -> Table:
    """The table, filled from the steps of the results by name. Raises InputError if a result is not in `measured`."""

    def cell(match: re.Match[str]) -> str:
        result, number, row, head = match[1].split("; ")
        tables = [table for step in lookup("result", result, measured) for table in step["tables"]]
        table = tables[int(number)]
        cells = next(cells for cells in table["rows"] if cells[0] == row)
        return max(cells[1:], key=float) if head == "largest" else cells[table["heads"].index(head)]

    return in_markdown(re.sub(r"\{([^}]*)\}", cell, TEMPLATE.read_text()))[0]

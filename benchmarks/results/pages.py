"""Pages of results: tables and figures after marks, and on the site a page for each result.

Between <!-- result NAME; NUMBER; HEAD; ... --> and <!-- end --> stand this table of the result, see `Result.table`,
and a link to all its tables; for 0+2 two tables, and without a number only the link. Between <!-- figures TEXT -->
and <!-- end --> stands the text, with a cell in place of each {NAME; NUMBER; ROW; HEAD}, see `Result.cell`.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from result import DATA, Result

from diffenc_jax.core.document import Code, Section, Text, markdown, read_table
from diffenc_jax.core.errors import lookup

MARK = re.compile(r"<!-- (result|figures)\s(.*?)\s-->\n.*?<!-- end -->", re.DOTALL)
LINE = 110  # columns of a command


def drawn(page: Path, results: Mapping[str, Result]) -> str:
    """The text of a page with what its marks ask for. Raises InputError if a result, table or column is missing."""
    data = os.path.relpath(DATA, page.parent)

    def block(match: re.Match[str]) -> str:
        text = shown(match[2], results, data) if match[1] == "result" else filled(match[2], results)
        return f"{match[0].partition('-->')[0]}-->\n\n{text}\n\n<!-- end -->"

    return MARK.sub(block, page.read_text())


def filled(text: str, results: Mapping[str, Result]) -> str:
    """A text with the cells that it names."""

    def cell(match: re.Match[str]) -> str:
        name, number, row, head = match[1].split("; ")
        return lookup("result", name, results).cell(number, row, head)

    return re.sub(r"\{([^}]*)\}", cell, text)


def shown(mark: str, results: Mapping[str, Result], data: str) -> str:
    """The table that a mark asks for, and where the numbers are from."""
    name, numbers, *chosen = [*mark.split("; "), ""]
    result = lookup("result", name, results)
    tables = [result.table(number, *filter(None, chosen)) for number in numbers.split("+") if number]
    origin = f"*`{name}`: {result.provenance}; [all tables and commands]({data}/{name}.json).*"
    return "\n\n".join([*map(markdown, tables), origin])


def names(text: str) -> list[str]:
    """The names of the results in the marks of a page."""
    return [mark.partition(";")[0] for kind, mark in MARK.findall(text) if kind == "result"]


def whole(result: Result) -> str:
    """Markdown of a page with all commands and tables of a result, for the site."""
    blocks = [block for step in result.steps for block in (Code(broken(step.command)), *map(read_table, step.tables))]
    link = f'{result.provenance}. <a href="{result.name}.json">As data</a>.'
    return markdown(Section(result.name, [Text(link), *blocks]))


def broken(command: str) -> str:
    """A command in lines of at most `LINE` columns, where its words allow it. Words in quotes stay whole."""
    lines = [""]
    for word in re.findall(r"(?:'[^']*'|[^' ])+", command):
        if lines[-1] and len(f"{lines[-1]} {word} \\") > LINE:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)

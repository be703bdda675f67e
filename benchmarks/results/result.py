"""`Result`: tables of numbers, with the commands that made them, and where and when these ran."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from diffenc_jax.core.document import Table, read_table
from diffenc_jax.core.errors import lookup, require

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs/results"
# In JSON, a list of texts, numbers and lists of these: a row, which takes one line.
_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)'
ROW = re.compile(rf"\[(?:\s*(?:{_VALUE}|\[(?:\s*{_VALUE},?)*\s*\]),?)*\s*\]")


@dataclass
class Step:
    """A command and what it printed.

    Attributes:
      command: the command, run in a common folder.
      commits: the commits of this repository by which it ran: several if it was interrupted and resumed.
      seconds: time of all its runs.
      ended: time at which it ended, in ISO 8601; "" before.
      machine: 'processor', number of 'cores', 'device' and 'software' by name.
      tables: its tables, as by `diffenc_jax.core.document.stored_table`.
    """

    command: str
    commits: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ended: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    tables: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass
class Result:
    """The steps of a result. docs/results/NAME.json holds them, with a digest of their numbers."""

    name: str
    steps: list[Step]

    @staticmethod
    def read(path: Path) -> "Result":
        """The result in a file. Raises InputError if its numbers are not those that were measured."""
        content = json.loads(path.read_text())
        result = Result(path.stem, [Step(**step) for step in content["steps"]])
        changed = f"{path} has other numbers than those that were measured, which its digest is of"
        require(content["digest"] == result.digest, f"{changed}; restore it, or measure it again")
        return result

    def write(self) -> None:
        content = {"digest": self.digest, "steps": [asdict(step) for step in self.steps]}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (DATA / f"{self.name}.json").write_text(ROW.sub(lambda row: re.sub(r"\n\s*", "", row[0]), text) + "\n")

    @property
    def digest(self) -> str:
        """SHA-256 of the tables."""
        return hashlib.sha256(json.dumps([step.tables for step in self.steps], sort_keys=True).encode()).hexdigest()

    @cached_property
    def tables(self) -> list[Table]:
        """The tables of all steps."""
        return [read_table(table) for step in self.steps for table in step.tables]

    def table(self, number: str, *chosen: str) -> Table:
        """A table by its number, from 0, with the first column and those `chosen` by their heads; without any, all.

        '=WORD' chooses the rows with a cell WORD. Raises InputError if there is no such table or column.
        """
        table = lookup(f"table of {self.name}", number, dict(zip(map(str, range(99)), self.tables, strict=False)))
        heads, words = [head for head in chosen if head[0] != "="], {word[1:] for word in chosen if word[0] == "="}
        columns = {head: column for column, head in enumerate(table.heads)}
        kept = [0, *(lookup("column", head, columns) for head in heads)] if heads else [*columns.values()]
        rows = [[row[column] for column in kept] for row in table.rows if words <= {*map(str, row)}]
        return table._replace(heads=[table.heads[column] for column in kept], rows=rows)

    def cell(self, number: str, row: str, head: str) -> str:
        """A cell by its table, the first cell of its row, and its head; of several such rows the first one.

        The head 'largest' stands for the largest number of the row. Raises InputError if there is no such cell.
        """
        table = self.table(number)
        cells = lookup("row", row, {str(cells[0]): cells for cells in reversed(table.rows)})
        if head == "largest":
            return max(cells[1:], key=float)
        return str(lookup("column", head, dict(zip(table.heads, cells, strict=True))))

    @property
    def provenance(self) -> str:
        """'12 minutes on 2 cores of ..., jax 0.10.2, 27 November 2026, commit 1234567'."""
        minutes = math.ceil(sum(step.seconds for step in self.steps) / 60)
        found = [
            (step.machine["cores"], step.machine["processor"], step.machine["software"]["jax"]) for step in self.steps
        ]
        machines = [f"{_count(cores, 'core')} of {name}, jax {jax}" for cores, name, jax in dict.fromkeys(found)]
        commits = sorted({commit[:7] for step in self.steps for commit in step.commits})
        ended = datetime.fromisoformat(max(step.ended for step in self.steps))
        by = f"{ended.day} {ended:%B %Y}, commit{'s' * (len(commits) > 1)} {', '.join(commits)}"
        return f"{_count(minutes, 'minute')} on {' and '.join(machines)}, {by}"


def measured() -> dict[str, Result]:
    """All results that are in the repository, by name."""
    return {path.stem: Result.read(path) for path in sorted(DATA.glob("*.json"))}


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'s' * (number != 1)}"

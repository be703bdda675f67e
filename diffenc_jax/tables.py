"""Tables in files, as CSV: a row is an object with the columns' names as keys."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes `rows`, at least one, as CSV; the first one's keys are the columns."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table in a file, each value as it is written there; raises what reading raises."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rows(columns: "dict[str, np.ndarray]") -> list[dict[str, float]]:
    """The rows of a table with `columns`, each [rows]."""
    return [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]

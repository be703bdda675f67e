"""Tables in files, a row an object with the columns' names as keys; and what a column of one says of many images."""

import csv
import math
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


def rows(columns: "dict[str, np.ndarray]") -> list[dict[str, float]]:
    """The rows of a table with `columns`, each [rows]."""
    return [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]


def mean_and_error(by_image: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The mean of [N, ...] over its N images, and the mean's standard error, in the unit of the values."""
    return by_image.mean(axis=0), by_image.std(axis=0, ddof=1) / math.sqrt(len(by_image))

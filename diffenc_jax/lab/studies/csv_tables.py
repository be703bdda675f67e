"""Tables as CSV text. A row is a mapping from column name to value."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV text of at least one row; the keys of the first row are the columns."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def csv_rows(text: str) -> list[dict[str, str]]:
    """Rows of CSV text, each value as text; raises ValueError where it cannot be parsed."""
    try:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise ValueError(f"no CSV: {error}") from error


def rows_of_columns(columns: "Mapping[str, np.ndarray]") -> list[dict[str, float]]:
    """Rows of a table that is given by its columns, each [rows]."""
    return [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]

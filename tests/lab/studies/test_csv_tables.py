"""CSV text and the rows it came from."""

import numpy as np
import pytest

from diffenc_jax.lab.studies.csv_tables import csv_rows, csv_text, rows_of_columns


def test_rows_survive_the_round_trip_unrounded():
    rows = [{"name": 'a, "b"\nc', "value": 1 / 3}, {"name": "", "value": -1e-300}]
    assert csv_rows(csv_text(rows)) == [{key: str(value) for key, value in row.items()} for row in rows]


def test_text_that_is_no_table_is_refused():
    with pytest.raises(ValueError, match="no CSV"):
        csv_rows("a\n" + "x" * 200_000)


def test_rows_from_columns():
    assert rows_of_columns({"t": np.array([0, 1]), "y": np.array([0.5, 2.5])}) == [
        {"t": 0.0, "y": 0.5},
        {"t": 1.0, "y": 2.5},
    ]

"""CSV text and the rows it came from."""

import csv
import io

from diffenc_jax.lab.studies.csv_tables import csv_text


def test_rows_survive_the_round_trip_unrounded():
    rows = [{"name": 'a, "b"\nc', "value": 1 / 3}, {"name": "", "value": -1e-300}]
    read = list(csv.DictReader(io.StringIO(csv_text(rows), newline="")))
    assert read == [{key: str(value) for key, value in row.items()} for row in rows]

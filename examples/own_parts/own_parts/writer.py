"""A table of a run's evaluations, for spreadsheets."""

import csv
import io
from pathlib import Path

from diffenc_jax.runs import storage
from diffenc_jax.train.writer import Writer


class Table(Writer):
    """evaluations.csv: a row per evaluated step, a column per value."""

    def __init__(self, folder):
        self.path = Path(folder) / "evaluations.csv"

    def write_scalars(self, step, scalars):
        values = {name.removeprefix("eval/"): value for name, value in scalars.items() if name.startswith("eval/")}
        if not values:
            return
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        # A resumed run repeats the steps after its last checkpoint.
        rows = [row for row in csv.DictReader(lines) if int(row["step"]) < step] + [{"step": step, **values}]
        content, columns = io.StringIO(), dict.fromkeys(name for row in rows for name in row)
        table = csv.DictWriter(content, list(columns))
        table.writeheader()
        table.writerows(rows)
        storage.write(self.path, content.getvalue().encode())  # completely or not at all

"""A table of a run's evaluations, for spreadsheets."""

import csv
import io

from diffenc_jax.core.buckets import as_path
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import read_if_present
from diffenc_jax.train.writer import Writer


class Table(Writer):
    """evaluations.csv: a row per evaluated step, a column per value."""

    def __init__(self, workdir):
        self.path = as_path(workdir) / "evaluations.csv"

    def write_scalars(self, step, scalars):
        values = {name.removeprefix("eval/"): value for name, value in scalars.items() if name.startswith("eval/")}
        if not values:
            return
        lines = read_if_present(self.path).decode().splitlines()
        # A resumed run repeats the steps after its last checkpoint.
        rows = [row for row in csv.DictReader(lines) if int(row["step"]) < step] + [{"step": step, **values}]
        content, columns = io.StringIO(), dict.fromkeys(name for row in rows for name in row)
        table = csv.DictWriter(content, list(columns))
        table.writeheader()
        table.writerows(rows)
        storage.write(self.path, content.getvalue().encode())  # completely or not at all

"""Files that a study leaves in a workdir: their names, their titles, and tables that are written and read back."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffenc_jax.core.errors import InputError, require
from diffenc_jax.lab.studies.csv_tables import csv_rows, csv_text
from diffenc_jax.runs.files import MAKE_WRITABLE, check_writable, read_text, write_text, writing

if TYPE_CHECKING:
    from diffenc_jax.runs.trained import Trained

ADVICE = "run the study again"
LARGEST = 1e30  # of the numbers in a table, which are drawn
Rows = list[dict[str, Any]]


def table_path(run: "Trained", folder: str) -> Path:
    """WORKDIR/<folder>/<split>-<step>.csv; raises InputError if nothing can be written to the folder."""
    check_writable(run.workdir / folder)
    return run.workdir / folder / f"{run.config.eval.split}-{run.step}.csv"


def data_title(source: str, split: str, step: int | str) -> str:
    """'digits (test), step 1500', for the data `source`, a name or a path."""
    return f"{Path(source).name} ({split}), step {step}"


def run_title(run: "Trained") -> str:
    """'vdm on digits (test), step 1500'."""
    return f"{run.config.arm} on {data_title(run.dataset.name, run.config.eval.split, run.step)}"


def write_rows(path: Path, rows: Rows) -> None:
    """Write a table as CSV; raises InputError if that fails."""
    with writing(path.parent, MAKE_WRITABLE):
        write_text(path, csv_text(rows))


def read_rows(path: Path, columns: Mapping[str, Callable[[str], Any]]) -> Rows:
    """Rows of the CSV file at `path`, each value converted by its column's function; raises InputError."""
    text = read_text(path, ADVICE)
    try:
        rows = [{name: kind(row[name]) for name, kind in columns.items()} for row in csv_rows(text)]
        numbers = [value for row in rows for value in row.values() if isinstance(value, int | float)]
        require(all(abs(number) <= LARGEST for number in numbers), "a number is not finite")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be read as a table of this study; {ADVICE}") from error
    require(bool(rows), f"{path} holds no rows; {ADVICE}")
    return rows

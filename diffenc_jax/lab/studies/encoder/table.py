"""The tables of an encoder study: effects by γ as CSV, bounds with other encoders as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import InputError
from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.lab.studies.csv_tables import rows_of_columns
from diffenc_jax.lab.studies.outputs import ADVICE, Rows
from diffenc_jax.runs.files import read_json

if TYPE_CHECKING:
    from diffenc_jax.lab.studies.encoder.measure import ByGamma

FOLDER = "encoder_study"
TRAINED = "trained"
CAPTION = "bits/dim, and the excess of the others over it (± standard error)"
# The table has the root of the mean of these, and the mean of the others.
SQUARES = ("difference", "derivative", "residual")
AMOUNTS = ("added", "removed")


def tabulate(effects: "ByGamma") -> Rows:
    """A row per γ: every value per dimension, with its standard error over images (_se).

    The error of the root of a mean m is the error of m divided by 2 √m.
    """
    columns = {"gamma": effects.gamma}
    for name in (*SQUARES, *AMOUNTS):
        mean, error = mean_and_error(getattr(effects, name))
        if name in SQUARES:
            mean = np.sqrt(mean)
            error = np.divide(error, 2 * mean, out=np.zeros_like(mean), where=mean > 0)
        columns[name], columns[f"{name}_se"] = mean, error
    return rows_of_columns(columns)


def describe_extremes(rows: Rows) -> str:
    """Where x_t is farthest from x, and where it changes most."""
    far, fast = (max(rows, key=lambda row: row[name]) for name in ("difference", "derivative"))
    return (
        f"x_t is farthest from x at γ = {far['gamma']:.2f} (root mean square {far['difference']:.4f} per dimension), "
        f"and changes most at γ = {fast['gamma']:.2f} ({fast['derivative']:.4f} per unit of γ; "
        f"missed by the model's drift: {fast['residual']:.4f})"
    )


def read_bounds(path: Path) -> dict[str, Any]:
    """The bounds by encoder, 'encoders' of the JSON file at `path`; raises InputError for any other file."""
    content = read_json(path, ADVICE)
    try:
        bounds = content["encoders"]
        bounds_table(bounds)
        meanings(bounds)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as bounds with other encoders; {ADVICE}") from error
    return bounds


def bounds_table(bounds: dict[str, Any]) -> Table:
    """The bound with the trained encoder by term, and the excess with other encoders in its place."""
    terms = [*(term for term in bounds[TRAINED]["bpd"] if term != "total"), "total"]
    rows = []
    for name, entry in bounds.items():
        if name == TRAINED:
            figures = [f"{entry['bpd'][term]:.4f}" for term in terms]
        else:
            pairs = (entry["difference"][term] for term in terms)
            figures = [f"{pair['mean']:+.4f} ± {pair['standard_error']['total']:.4f}" for pair in pairs]
        rows.append([name, *figures])
    return Table(["encoder", *terms], rows, CAPTION)


def meanings(bounds: dict[str, Any]) -> list[str]:
    """One line per encoder: the meaning of its bound."""
    return [f"{name}: {entry['meaning']}" for name, entry in bounds.items()]

"""Balance of an encoder: the price of its drift and its gain at the ends of the path, as tables, totals and text."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import InputError
from diffenc_jax.evaluation.means import mean_and_error
from diffenc_jax.lab.studies.csv_tables import rows_of_columns
from diffenc_jax.lab.studies.outputs import ADVICE, Rows
from diffenc_jax.runs.files import read_json

if TYPE_CHECKING:
    from diffenc_jax.lab.studies.encoder.ends import Ends

# Predictors of dx_t/dγ, and their names in texts. A run has one of the first two.
PREDICTORS = {
    "head": "derivative head",
    "score": "score network",
    "linear": "linear predictor",
    "constant": "constant",
}
PRICE_CAPTION = "Price of the drift: upper bounds by the error of predictors of dx_t/dγ, bits/dim (± standard error)"
ENDS_CAPTION = "Terms at the ends of the path, bits/dim (± standard error)"


def tabulate_price(gamma: np.ndarray, rates: dict[str, np.ndarray], dims: int) -> Rows:
    """A row per γ: bits/dim per unit of γ by predictor, from rates [N, G] in nats, with standard errors over images."""
    columns = {"gamma": gamma}
    for name, nats in rates.items():
        columns[name], columns[f"{name}_se"] = mean_and_error(nats / (dims * math.log(2)))
    return rows_of_columns(columns)


def totals(gamma: np.ndarray, rates: dict[str, np.ndarray], ends: "dict[str, Ends]", dims: int) -> dict[str, Any]:
    """The totals in bits/dim: each a dictionary of 'mean' and 'standard_error' over images.

    Returns:
      'price' by predictor, the area under its rates; 'ends' by path and term; 'won', the difference of both paths in
      the reconstruction term and the part of the latent term that can be won (`Ends.cost`).
    """

    def bits(nats):
        mean, error = mean_and_error(nats / (dims * math.log(2)))
        return {"mean": float(mean), "standard_error": float(error)}

    trained, identity = ends.values()
    return {
        "price": {name: bits(np.trapezoid(nats, gamma, axis=1)) for name, nats in rates.items()},
        "ends": {path: {name: bits(nats) for name, nats in terms._asdict().items()} for path, terms in ends.items()},
        "won": bits(identity.cost - trained.cost),
    }


def read_balance(path: Path) -> dict[str, Any]:
    """The totals in the JSON file at `path`; raises InputError for any other file."""
    found = read_json(path, ADVICE)
    try:
        price_table(found), ends_table(found), summary(found)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as the price of an encoder's drift; {ADVICE}") from error
    return found


def price_table(found: dict[str, Any]) -> Table:
    """The price by predictor."""
    smallest = _smallest(found)
    rows = [
        [PREDICTORS[name], _with_error(total), "the lowest bound" if name == smallest else ""]
        for name, total in found["price"].items()
    ]
    return Table(["predictor of dx_t/dγ", "price", "remark"], rows, PRICE_CAPTION)


def ends_table(found: dict[str, Any]) -> Table:
    """The terms at the ends of both paths, with N(0, I) and with a fitted Gaussian as the prior of z_1."""
    terms = {"reconstruction": "reconstruction", "latent": "latent", "fitted": "latent, fitted prior"}
    rows = [[path, *(_with_error(totals[term]) for term in terms)] for path, totals in found["ends"].items()]
    return Table(["encoder", *terms.values()], rows, ENDS_CAPTION)


def summary(found: dict[str, Any]) -> str:
    """The smallest price beside that of the Gaussian fit, and what the ends win back."""
    smallest, price = _smallest(found), found["price"]
    parts = [f"price of the drift: at most {_with_error(price[smallest])} bits/dim ({PREDICTORS[smallest]})"]
    if "linear" in price:
        parts.append(f"Gaussian fit: {price['linear']['mean']:.5f}")
    return "; ".join([*parts, f"end terms win back {_with_error(found['won'])}"])


def _smallest(found: dict[str, Any]) -> str:
    return min(found["price"], key=lambda name: found["price"][name]["mean"])


def _with_error(total: dict[str, float]) -> str:
    return f"{total['mean']:.5f} ± {total['standard_error']:.5f}"

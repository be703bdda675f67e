"""The table of the loss by time: one row per cell, means over images with their standard errors.

Columns: t and gamma of the cell's centre, gamma_width of the cell, diffusion in bits/dim per unit of γ, velocity and
residual per dimension, and the standard error of each of these three (_se).
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.lab.studies.csv_tables import rows_of_columns
from diffenc_jax.lab.studies.outputs import Rows, read_rows

if TYPE_CHECKING:
    from diffenc_jax.lab.studies.by_time.measure import LossByTime

FOLDER = "loss_by_time"
QUANTITIES = ("diffusion", "velocity", "residual")
COLUMNS = ("t", "gamma", "gamma_width", *(name + end for name in QUANTITIES for end in ("", "_se")))
# Part of the bits inside the printed interval of γ; equal parts lie outside at either end.
MIDDLE = 0.9


class Summary(NamedTuple):
    """The table of a run, and its totals.

    Attributes:
      rows: one row per cell.
      area: area under the diffusion loss over γ, bits/dim.
      error: standard error of the area over images.
      middle: interval of γ that holds the middle `MIDDLE` of the area.
    """

    rows: Rows
    area: float
    error: float
    middle: tuple[float, float]

    def describe(self, recorded: float | None) -> str:
        """The area beside `recorded`, the diffusion term of the run's own record, and the interval."""
        beside = "no record to compare with" if recorded is None else f"the run's record has {recorded:.4f}"
        low, high = self.middle
        return (
            f"area {self.area:.4f} ± {self.error:.4f} bits/dim of diffusion loss ({beside}), "
            f"{MIDDLE:.0%} of it between γ = {low:.2f} and {high:.2f}"
        )


def summarize(values: "LossByTime", dims: int) -> Summary:
    """Means over images; an image's value is the mean of its draws, so the errors contain the noise of the draws."""
    width = np.diff(values.edges)
    scales = {"diffusion": 1 / (dims * math.log(2) * values.dgamma), "velocity": 1 / dims, "residual": 1 / dims}
    by_image = {name: getattr(values, name).mean(axis=0) * scale for name, scale in scales.items()}
    columns = {"t": values.t, "gamma": values.gamma, "gamma_width": width}
    for name, array in by_image.items():
        columns[name], columns[f"{name}_se"] = mean_and_error(array)
    area, error = mean_and_error(by_image["diffusion"] @ width)
    # Within a cell the bits count as uniform in γ.
    share = np.concatenate([[0.0], np.cumsum(columns["diffusion"] * width)]) / area
    middle = np.interp([(1 - MIDDLE) / 2, (1 + MIDDLE) / 2], share, values.edges)
    return Summary(rows_of_columns(columns), float(area), float(error), tuple(map(float, middle)))


def read_table(path: Path) -> Rows:
    """The rows at `path`; raises InputError for a file that is no table of the loss by time."""
    return read_rows(path, dict.fromkeys(COLUMNS, float))

"""The table of rate and distortion: a row per z_t from the noise to the data, and one for the pixels themselves.

Columns: steps that are received; gamma of z_t, empty in the last row; rate in bits/dim; rmse, the root of the mean
squared error over images and pixels on a scale of 0 .. 255; psnr, 20 log10(255 / rmse) in dB, empty where the error is
zero; and the standard error over images and noise of each of these three (_se).

With an encoder whose x_t does not determine x, the image shown at z_t is x̂, an estimate of x_t and not of x. Its error
against x contains the encoder's x_t - x, and the columns are rmse_x_t and psnr_x_t.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.core.document import Table
from diffenc_jax.core.numbers import UNKNOWN, with_error
from diffenc_jax.evaluation.means import mean_and_error
from diffenc_jax.lab.studies.outputs import Rows

if TYPE_CHECKING:
    from diffenc_jax.lab.studies.rate_distortion.measure import RateDistortion

FOLDER = "rate_distortion"
# Errors of pixels are on this scale, whatever the number of pixel levels.
LARGEST_PIXEL = 255
# End of the names of the columns of the distortion where x̂, an estimate of x_t, is shown as it is.
OF_X_T = "_x_t"
# Rates of the printed table and of the picture, evenly spaced between 0 and the bound.
SHOWN = 5


def tabulate(values: "RateDistortion") -> Rows:
    """Means over images and passes; the errors contain the noise, since each pass has its own."""
    names = [f"{name}{'' if values.estimates_x else OF_X_T}" for name in ("rmse", "psnr")]
    rows: Rows = []
    for number, gamma in enumerate([*values.gamma, None]):
        row = {"steps": min(number, len(values.gamma) - 1), "gamma": None if gamma is None else float(gamma)}
        row |= _with_error("rate", *_mean(values.rate[..., number]))
        square, error = (0.0, 0.0) if gamma is None else _mean(values.square[..., number])
        rmse = math.sqrt(square)
        row |= _with_error(names[0], rmse, error / (2 * rmse) if square else 0.0)
        psnr = (20 * math.log10(LARGEST_PIXEL / rmse), 10 / math.log(10) * error / square) if square else (None, None)
        rows.append(row | _with_error(names[1], *psnr))
    return rows


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean of values [passes, images], and its standard error over images and noise."""
    mean, error = mean_and_error(values.mean(axis=0))
    return float(mean), float(error)


def _with_error(name: str, value: float | None, error: float | None) -> dict[str, float | None]:
    return {name: value, f"{name}_se": error}


def ending(rows: Rows) -> str:
    """`OF_X_T` for a table of x̂ as an estimate of x_t, otherwise nothing."""
    return "" if "rmse" in rows[0] else OF_X_T


def even_rates(rows: Rows) -> list[int]:
    """Numbers of the z_t whose rates are nearest to `SHOWN` rates evenly spaced between 0 and the bound."""
    rates = np.array([row["rate"] for row in rows])
    wanted = rates[-1] * np.arange(1, SHOWN + 1) / (SHOWN + 1)
    return np.unique(np.abs(rates[:-1, None] - wanted).argmin(axis=0)).tolist()


def rates_table(rows: Rows, subject: str) -> Table:
    """The rows at `even_rates`, and the last two: z_0 and the pixels."""
    end, lines = ending(rows), []
    of = " of x̂, for x_t" if end else ""
    heads = ["steps", "γ", "bits/dim", f"RMSE{of}", f"PSNR{of} (dB)"]
    for number in dict.fromkeys([*even_rates(rows), len(rows) - 2, len(rows) - 1]):
        row = rows[number]
        gamma = "pixels" if row["gamma"] is None else f"{row['gamma']:.2f}"
        cells = [f"{row[f'rmse{end}']:.2f} ± {row[f'rmse{end}_se']:.2f}", UNKNOWN]
        if row[f"psnr{end}"] is not None:
            cells[1] = f"{row[f'psnr{end}']:.2f} ± {row[f'psnr{end}_se']:.2f}"
        lines.append([row["steps"], gamma, with_error(row["rate"], row["rate_se"]), *cells])
    return Table(heads, lines, f"{subject}: rate and distortion ± standard error; RMSE on a scale of 0 .. 255")


def summary_line(rows: Rows) -> str:
    """'bound of 50 steps: 1.9123 ± 0.0131 bits/dim'."""
    last = rows[-1]
    return f"bound of {last['steps']} steps: {with_error(last['rate'], last['rate_se'])} bits/dim"

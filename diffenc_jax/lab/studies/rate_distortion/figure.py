"""The figures of rate and distortion: the curve, and the images shown at several rates."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.lab.figures.style import COLUMN, arm_style, limits, literal, marker_step, new_figure, style
from diffenc_jax.lab.studies.outputs import Rows
from diffenc_jax.lab.studies.rate_distortion.table import ending, even_rates
from diffenc_jax.sampling.pictures import write_versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diffenc_jax.lab.studies.rate_distortion.measure import RateDistortion

LABELS = {"rmse": "RMSE (pixels 0 .. 255)", "psnr": "PSNR (dB)"}
OF_X = "distortion of the image shown at $z_t$, the model's estimate of $x$"
OF_X_T = r"distortion against $x$ of $\hat{x}(z_t)$, an estimate of the encoded image $x_t$, not of $x$"
BANDS = "bands: ±2 standard errors over images and noise"
# Below the pictures.
SHOWN = "images shown at z_t after so many bits of the steps from noise to data; RMSE: of all images, 0 .. 255"
SHOWN_X_T = SHOWN.replace("images shown at z_t", "the network's estimate of x_t, not of x,")


@style()
def draw_curve(rows: Rows, arm: str, title: str, loss: LossConfig) -> "Figure":
    """RMSE and PSNR against the rate, with bands of two standard errors in both directions."""
    end = ending(rows)
    ratio = loss.variance_ratio if isinstance(loss.variance_ratio, str) else f"{loss.variance_ratio:g}"
    note = f"{OF_X_T if end else OF_X}; {loss.depth} steps, {loss.times} times, variance ratio {ratio}; {BANDS}"
    figure, panels = new_figure(COLUMN, 4.6, literal(title), note, nrows=2, sharex=True)
    look = arm_style(arm)
    for axes, (quantity, label) in zip(panels, LABELS.items(), strict=True):
        names = "rate", "rate_se", f"{quantity}{end}", f"{quantity}{end}_se"
        rate, rate_error, value, error = (np.array([row[name] for row in rows], float) for name in names)
        axes.plot(rate, value, markevery=marker_step(len(rate)), **look)
        band = {"color": look["color"], "alpha": 0.2, "linewidth": 0}
        axes.fill_between(rate, value - 2 * error, value + 2 * error, **band)
        known = np.isfinite(value)
        axes.fill_betweenx(value[known], (rate - 2 * rate_error)[known], (rate + 2 * rate_error)[known], **band)
        axes.set(ylabel=label, ylim=limits([*value, *(value - 2 * error), *(value + 2 * error)]))
        axes.grid()
    panels[-1].set(xlabel="rate (bits/dim)", xlim=limits([0.0, *rate, *(rate + 2 * rate_error)]))
    figure.align_ylabels(panels)
    return figure


def write_shown(values: "RateDistortion", rows: Rows, levels: int, path: Path) -> None:
    """Write a picture of the first images, and of those shown for them at `even_rates`, the rate beside each row."""
    versions, end = {"original": values.originals}, ending(rows)
    for number in even_rates(rows):
        row = rows[number]
        versions[f"{row['rate']:.2f} bits/dim\nRMSE {row[f'rmse{end}']:.1f}"] = values.shown[number]
    write_versions(versions, levels, SHOWN_X_T if end else SHOWN, path)

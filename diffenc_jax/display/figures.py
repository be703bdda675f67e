"""Figures of one style. matplotlib is imported at the first figure."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which remain distinct under colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def new_figure(width: float, height: float, title: str = "", **grid: Any) -> "tuple[Figure, Any]":
    """A figure of `width` by `height` inches, and its axes: those of `Figure.subplots(**grid)`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize="medium")
    return figure, figure.subplots(**grid)


def add_band(axes: "Axes", rows: list[dict[str, float]], column: str, colour: str, **options: Any) -> None:
    """Add a column of a table to the axes against 'gamma', with a band of two of its standard errors, '<column>_se'."""
    gamma, mean, error = (np.array([row[key] for row in rows]) for key in ("gamma", column, f"{column}_se"))
    axes.plot(gamma, mean, color=colour, linewidth=1.3, **options)
    axes.fill_between(gamma, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.25, linewidth=0)

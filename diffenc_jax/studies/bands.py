"""Curves with bands of two standard errors."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def add_band(axes: "Axes", rows: list[dict[str, float]], column: str, colour: str, **options: Any) -> None:
    """Add a column of a table to the axes against 'gamma', with a band of two of its standard errors, '<column>_se'."""
    gamma, mean, error = (np.array([row[key] for row in rows]) for key in ("gamma", column, f"{column}_se"))
    axes.plot(gamma, mean, color=colour, linewidth=1.3, **options)
    axes.fill_between(gamma, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.25, linewidth=0)

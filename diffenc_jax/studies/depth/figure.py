"""The figure of a depth study."""

from typing import TYPE_CHECKING

from diffenc_jax.display.figures import COLOURS, new_figure
from diffenc_jax.studies.depth.table import CHOICES
from diffenc_jax.studies.outputs import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colour and marker of each choice.
STYLES = dict(zip(CHOICES, ((COLOURS[6], "o"), (COLOURS[4], "s"), (COLOURS[5], "^"), (COLOURS[1], "D")), strict=True))


def draw_excess(rows: Rows, title: str) -> "Figure":
    """Excess over infinite depth against depth, a line per choice of steps."""
    figure, axes = new_figure(6, 4.2)
    for name, (colour, marker) in STYLES.items():
        points = [(row["depth"], row["excess"]) for row in rows if row["choice"] == name]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=name)
    axes.set(xscale="log", yscale="log", xlabel="depth (steps)", ylabel="bits/dim above infinite depth", title=title)
    depths = sorted({row["depth"] for row in rows if row["choice"]})
    axes.set_xticks(depths, labels=[str(depth) for depth in depths])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure

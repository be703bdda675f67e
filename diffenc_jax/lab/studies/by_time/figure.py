"""The figure of the loss by time: a panel per quantity, a curve per run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from diffenc_jax.lab.figures.style import (
    COLUMN,
    GAMMA,
    SMALL,
    add_band,
    literal,
    new_figure,
    run_styles,
    style,
    top_of_bands,
    wrapped,
)
from diffenc_jax.lab.studies.outputs import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Label of each quantity, and the title of its panel, which defines the symbols.
PANELS = {
    "diffusion": ("bits/dim per unit of $\\gamma$", "diffusion loss"),
    "velocity": (
        r"$\|v-\hat{v}\|^2/d$",
        "velocity $v$ of the noisy path and its estimate $\\hat{v}$\nby the network, in $d$ dimensions",
    ),
    "residual": (
        r"$\|\mathrm{d}x_t/\mathrm{d}\lambda-\sigma_t^2\hat{x}\|^2/(\sigma_t^2d)$",
        "encoded image $x_t$ and its estimate $\\hat{x}$,\n$\\lambda=-\\gamma$, variance of the noise $\\sigma_t^2$",
    ),
}


class Curve(NamedTuple):
    """A run's table of the loss by time, its arm, and its entry of the legend."""

    label: str
    arm: str
    rows: Rows


@style()
def draw_curves(runs: Sequence[Curve], legend: str, title: str) -> "Figure":
    """Curves of the runs' tables with bands of two standard errors; `legend` is the title of the legend."""
    panels = {name: texts for name, texts in PANELS.items() if any(row[name] for run in runs for row in run.rows)}
    labels, head = (
        [wrapped(literal(run.label), 2.5) for run in runs],
        f"{legend}\nbands: ±2 standard errors over images",
    )
    height = 1.1 + 1.6 * len(panels) + 0.13 * "\n".join(labels).count("\n")
    figure, grid = new_figure(COLUMN, height, literal(title), nrows=len(panels), sharex=True, squeeze=False)
    all_axes = grid[:, 0]
    for axes, (quantity, (ylabel, definitions)) in zip(all_axes, panels.items(), strict=True):
        for run, label, look in zip(runs, labels, run_styles([run.arm for run in runs]), strict=True):
            add_band(axes, run.rows, quantity, label, **look)
        axes.set(ylabel=ylabel, ylim=(0, top_of_bands([row for run in runs for row in run.rows], [quantity])))
        axes.set_title(definitions, fontsize=SMALL)
        axes.grid()
    figure.align_ylabels(all_axes)
    # Below the panels, where long names hide no curve.
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", title=wrapped(head, 2.8))
    all_axes[-1].set_xlabel(GAMMA)
    all_axes[-1].locator_params(axis="x", nbins=6)
    return figure


def shortest_names(runs: Sequence[Any]) -> list[str]:
    """The shortest names that distinguish the runs: arms, with seeds or steps where necessary, else workdirs.

    Args:
      runs: objects with `config` (`arm`, `seed`), `step` and `workdir`.
    """
    arms = [run.config.arm for run in runs]
    seeds = [f"{run.config.arm}, seed {run.config.seed}" for run in runs]
    steps = [f"{run.config.arm}, step {run.step}" for run in runs]
    paths = [str(run.workdir) for run in runs]
    return next(names for names in (arms, seeds, steps, paths) if len(set(names)) == len(runs) or names is paths)

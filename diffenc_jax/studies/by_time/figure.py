"""The figure of the loss by time: a panel per quantity, a curve per run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diffenc_jax.display.figures import COLOURS, add_band, new_figure
from diffenc_jax.studies.outputs import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "diffusion": "diffusion loss\n(bits/dim per unit of γ)",
    "velocity": "‖v − v̂‖² / d",
    "residual": "‖σ (slope + k x̂)‖² / d",
}
LINES = ("-", "--", "-.", ":")


def draw_curves(runs: Mapping[str, Rows], legend: str, title: str) -> "Figure":
    """Curves of the runs' tables with bands of two standard errors; the keys are the entries of the legend."""
    panels = {name: label for name, label in PANELS.items() if any(row[name] for rows in runs.values() for row in rows)}
    height = 1.2 + 2.1 * len(panels) + 0.2 * len(runs)
    figure, grid = new_figure(6, height, title, nrows=len(panels), sharex=True, squeeze=False)
    all_axes = grid[:, 0]
    for axes, (quantity, ylabel) in zip(all_axes, panels.items(), strict=True):
        for number, (label, rows) in enumerate(runs.items()):
            colour, line = COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]
            add_band(axes, rows, quantity, colour, linestyle=line, label=label)
        axes.set(ylabel=ylabel, ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.align_ylabels(all_axes)
    # Below the panels, where long names hide no curve.
    handles, labels = all_axes[0].get_legend_handles_labels()
    head = f"{legend} (bands: ± 2 standard errors)"
    figure.legend(handles, labels, loc="outside lower center", title=head, frameon=False)
    all_axes[-1].set_xlabel("γ = −log SNR (data on the left, noise on the right)")
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

"""Where along the path the bits of a trained model are, and which errors they come from.

python -m diffenc_jax.loss_by_time WORKDIR [WORKDIR...] [--cells=50] [--looks=4] [--split=test]

Looks at every image of a split in each of so many equal parts of t at infinite depth (`by_time.py`), with
the EMA parameters of the newest checkpoint. Writes WORKDIR/loss_by_time/<split>-<step>.csv, a row a cell,
and a figure beside it: the diffusion loss a unit of γ, whose area is the bound's diffusion term, and the
squared errors of the velocity and of the encoder's drift. Several runs are looked at under common noise
and drawn into one figure, '<split>-<step>-compared.png' in the first one's folder.

Columns of the table: t and gamma of the cell's centre, gamma_width of the cell; diffusion in bits/dim per
unit of γ, velocity and residual a dimension, each a mean over images with its standard error (_se).
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from diffenc_jax import tables
from diffenc_jax.commands import positive, run
from diffenc_jax.palette import COLOURS

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from diffenc_jax.by_time import ByTime
    from diffenc_jax.trained import Trained

CELLS = 50
LOOKS = 4
SEED = 0
FOLDER = "loss_by_time"
# The part of the bits that the printed interval of γ holds, as much being left out at either end.
MIDDLE = 0.9
# The panels: what is drawn, and the name of its axis.
PANELS = {
    "diffusion": "diffusion loss\n(bits/dim per unit of γ)",
    "velocity": "‖v − v̂‖² / d",
    "residual": "‖σ (slope + k x̂)‖² / d",
}
# For print.
LINES = ("-", "--", "-.", ":")


class Subject(NamedTuple):
    """A run, and the images that it is looked at on: all uint8 [N, H, W, C] of `split`."""

    run: "Trained"
    split: str
    images: "np.ndarray"
    sha256: str

    @property
    def data(self) -> str:
        """What it is looked at on: 'digits test (160e2c14493b)', by name and by the images themselves."""
        return f"{self.run.dataset.name} {self.split} ({self.sha256[:12]})"

    @property
    def path(self) -> Path:
        """Of its table."""
        return self.run.workdir / FOLDER / f"{self.split}-{self.run.step}.csv"


class Curve(NamedTuple):
    """What is shown of a run.

    Attributes:
      rows: a row a cell, as in the table.
      area: under the diffusion loss over γ, bits/dim.
      error: the area's standard error over images.
      middle: the γ between which the middle `MIDDLE` of it lies.
    """

    rows: list[dict[str, float]]
    area: float
    error: float
    middle: tuple[float, float]


def open_runs(workdirs: list[Path], split: str | None) -> list[Subject]:
    """The runs in `workdirs` with their images of `split`; None: the split that each evaluates on.

    Raises:
      InputError: a workdir holds no trained run or cannot be written to, there is no such split, or the images are
        not the same for all.
    """
    from diffenc_jax.config import require
    from diffenc_jax.workdir import MAKE_WRITABLE, check_writable

    subjects = [_open(workdir, split) for workdir in workdirs]
    first = subjects[0]
    require(len(first.images) > 1, f"{first.data} is one image, and standard errors over images need at least two")
    for other in subjects[1:]:
        require(
            (first.split, first.sha256) == (other.split, other.sha256),
            f"{first.run.workdir} is looked at on {first.data}, {other.run.workdir} on {other.data}; "
            "give runs of the same images, or one --split for all",
        )
    for subject in subjects:
        check_writable(subject.path.parent, MAKE_WRITABLE)
    return subjects


def _open(workdir: Path, split: str | None) -> Subject:
    from diffenc_jax import workdir as workdirs
    from diffenc_jax.data.dataset import load
    from diffenc_jax.trained import open_trained

    config = workdirs.configuration(workdir)
    split = config.eval.split if split is None else split
    run = open_trained(config, workdir, fitting=False)
    dataset = run.dataset if split in run.dataset.splits else load(config, split)
    return Subject(run, split, dataset.splits[split], dataset.sha256(split))


def look(subject: Subject, cells: int, looks: int, on_batch: Callable[[float], None]) -> Curve:
    """Looks at all images, and sums up what was seen."""
    from diffenc_jax.by_time import by_time

    run, images = subject.run, subject.images
    batch_size = min(run.config.eval.batch_size, len(images))
    values = by_time(run.model, run.params, images, run.mesh, cells, looks, SEED, batch_size, on_batch)
    return summarize(values, run.model.spec.dims)


def summarize(values: "ByTime", dims: int) -> Curve:
    """Means over images with their standard errors, in bits/dim a unit of γ, and per dimension.

    An image's value is the mean of its looks. The errors are those of a mean over the split, and
    contain the noise of the looks.
    """
    import numpy as np

    from diffenc_jax.stats.uncertainty import mean_and_error

    width = np.diff(values.edges)
    scales = {"diffusion": 1 / (dims * math.log(2) * values.dgamma), "velocity": 1 / dims, "residual": 1 / dims}
    by_image = {name: getattr(values, name).mean(axis=0) * scale for name, scale in scales.items()}
    columns = {"t": values.t, "gamma": values.gamma, "gamma_width": width}
    for name, array in by_image.items():
        columns[name], columns[f"{name}_se"] = mean_and_error(array)
    area, error = mean_and_error(by_image["diffusion"] @ width)
    # Within a cell the bits count as spread evenly over γ.
    share = np.concatenate([[0.0], np.cumsum(columns["diffusion"] * width)]) / area
    middle = np.interp([(1 - MIDDLE) / 2, (1 + MIDDLE) / 2], share, values.edges)
    return Curve(tables.rows(columns), float(area), float(error), tuple(map(float, middle)))


def write(subject: Subject, curve: Curve) -> None:
    """Writes the run's table (.csv).

    Raises:
      InputError: the workdir cannot be written to.
    """
    from diffenc_jax.workdir import MAKE_WRITABLE, writing

    with writing(subject.path.parent, MAKE_WRITABLE):
        tables.write(subject.path, curve.rows)


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a table that `write` wrote.

    Raises:
      InputError: it cannot be read as one.
    """
    from diffenc_jax.errors import InputError

    try:
        rows = [{key: float(value) for key, value in row.items()} for row in tables.read(path)]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a table; make it anew") from error
    columns = {"t", "gamma", "gamma_width", *PANELS, *(f"{name}_se" for name in PANELS)}
    if not rows or not all(columns <= row.keys() for row in rows):
        raise InputError(f"{path} lacks rows or columns of the loss by time; make it anew")
    return rows


def describe(subject: Subject, curve: Curve) -> str:
    """The area, beside the diffusion term of the run's own record if there is one, and where most of it lies."""
    run, (low, high) = subject.run, curve.middle
    recorded = _recorded(run.workdir / "eval" / f"{subject.split}-{run.step}-continuous.json")
    beside = "no record to compare with" if recorded is None else f"the run's record says {recorded:.4f}"
    return (
        f"{run.workdir}: area {curve.area:.4f} ± {curve.error:.4f} bits/dim of diffusion loss ({beside}), "
        f"{MIDDLE:.0%} of it between γ = {low:.2f} and {high:.2f}"
    )


def _recorded(path: Path) -> float | None:
    """The diffusion term of the record at `path`, bits/dim; None where there is none that can be read."""
    try:
        return float(json.loads(path.read_text())["bpd"]["diffusion"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def plot(subjects: list[Subject], curves: list[Curve]) -> Path:
    """Draws all curves into one figure; returns its path, in the first run's folder."""
    first = subjects[0]
    labels = (
        f"{name}: {curve.area:.3f} ± {curve.error:.3f} bits/dim"
        for name, curve in zip(names([subject.run for subject in subjects]), curves, strict=True)
    )
    steps = ", ".join(str(step) for step in sorted({subject.run.step for subject in subjects}))
    figure = draw(
        {label: curve.rows for label, curve in zip(labels, curves, strict=True)},
        "area ± standard error",
        f"{Path(first.run.dataset.name).name} ({first.split}), step {steps}",
    )
    path = first.path.with_name(f"{first.path.stem}{'' if len(subjects) == 1 else '-compared'}.png")
    figure.savefig(path, dpi=150)
    return path


def draw(runs: dict[str, list[dict[str, float]]], legend: str, title: str) -> "Figure":
    """The curves of the runs' tables, by what the legend calls them, with bands of two standard errors."""
    from matplotlib.figure import Figure

    panels = {name: label for name, label in PANELS.items() if any(row[name] for rows in runs.values() for row in rows)}
    figure = Figure(figsize=(6, 1.2 + 2.1 * len(panels) + 0.2 * len(runs)), layout="constrained")
    all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (quantity, ylabel) in zip(all_axes, panels.items(), strict=True):
        for number, (label, rows) in enumerate(runs.items()):
            _draw(axes, rows, quantity, number, label)
        axes.set(ylabel=ylabel, ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.align_ylabels(all_axes)
    # Below the panels: in one it would lie on the curves of long names.
    title_of_legend = f"{legend} (bands: ± 2 standard errors)"
    figure.legend(
        *all_axes[0].get_legend_handles_labels(), loc="outside lower center", title=title_of_legend, frameon=False
    )
    all_axes[-1].set_xlabel("γ = −log SNR (data on the left, noise on the right)")
    figure.suptitle(title)
    return figure


def _draw(axes, rows: list[dict[str, float]], quantity: str, number: int, label: str) -> None:
    """The curve of run `number`."""
    import numpy as np

    gamma, mean, error = (np.array([row[key] for row in rows]) for key in ("gamma", quantity, f"{quantity}_se"))
    colour, line = COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]
    axes.plot(gamma, mean, line, color=colour, label=label, linewidth=1.3)
    axes.fill_between(gamma, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.25, linewidth=0)


def names(runs: "list[Trained]") -> list[str]:
    """The least that tells the runs apart: arms, with seeds and steps where they are needed, or else workdirs."""
    arms = [run.config.arm for run in runs]
    seeds = [f"{run.config.arm}, seed {run.config.seed}" for run in runs]
    steps = [f"{run.config.arm}, step {run.step}" for run in runs]
    paths = [str(run.workdir) for run in runs]
    return next(names for names in (arms, seeds, steps, paths) if len(set(names)) == len(runs) or names is paths)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m diffenc_jax.loss_by_time",
        description="The diffusion loss of trained runs by noise level, and the errors that it is made of.",
    )
    parser.add_argument("workdirs", type=Path, nargs="+", metavar="WORKDIR", help="of a trained run")
    parser.add_argument("--cells", type=positive, default=CELLS, help="equal parts of t (default %(default)s)")
    parser.add_argument("--looks", type=positive, default=LOOKS, help="at an image a cell (default %(default)s)")
    parser.add_argument("--split", help="of the data set (default: what the runs evaluate on)")
    return parser.parse_args(argv)


def study(workdirs: list[Path], split: str | None, cells: int, looks: int) -> None:
    """Writes the runs' tables and their figure, and prints a line for each."""
    subjects, curves = open_runs(workdirs, split), []
    for subject in subjects:
        curves.append(_look_watched(subject, cells, looks))
        write(subject, curves[-1])
        print(f"{describe(subject, curves[-1])}\ntable: {subject.path}", flush=True)
    print(f"figure: {plot(subjects, curves)}")


def _look_watched(subject: Subject, cells: int, looks: int) -> Curve:
    """`look`, with a bar where there is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(str(subject.run.workdir), total=1.0)
        return look(subject, cells, looks, lambda share: progress.update(task, completed=share))


def main(argv: list[str]) -> int:
    """Exit code: 0, 1 for a run that cannot go on, 2 for bad input."""
    arguments = _arguments(argv)
    return run(
        lambda: study(arguments.workdirs, arguments.split, arguments.cells, arguments.looks),
        interrupted="the tables so far are kept, the same command begins again",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

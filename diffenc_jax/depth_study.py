"""What a finite number of steps costs a trained model, and how much of that the best steps win back.

python -m diffenc_jax.depth_study WORKDIR [--depths=5,10,20,50,100,250,1000] [--passes=64]

Evaluates the newest checkpoint's test bits/dim at infinite depth and, at every given depth, with times
uniform in t and ratio 1, with the best ratio of variances a step and pixel, with the best times, and
with both (arXiv 2310.19789, section 3.3; `calibrate.py`). Times and ratios are fitted on training images;
everything is reported on the split that the run evaluates on, under common noise. Writes a record each,
a table and a plot to WORKDIR/depth_study, and goes on where it was interrupted.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffenc_jax import tables
from diffenc_jax.commands import positive, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS = (5, 10, 20, 50, 100, 250, 1000)
PASSES = 64
FOLDER = "depth_study"
# The depth that the last line is about, where it is among those studied.
REFERENCE_DEPTH = 50
CELLS = "bits/dim (part of the excess that is kept)"
UNIFORM, BOTH = "uniform times, ratio 1", "both"
# What is varied at each depth: (times, variance ratio).
CHOICES = {
    UNIFORM: ("uniform", 1.0),
    "best ratio": ("uniform", "optimal_pixel"),
    "best times": ("optimal", 1.0),
    BOTH: ("optimal", "optimal_pixel"),
}
# Okabe and Ito's colours, which the colour-blind tell apart; markers for print.
STYLES = dict(zip(CHOICES, (("#000000", "o"), ("#E69F00", "s"), ("#56B4E9", "^"), ("#D55E00", "D")), strict=True))


def study(workdir: Path, depths: list[int], passes: int, on_record: Callable[[str], None]) -> dict[str, Any]:
    """The records {'infinite': record, depth: {choice: record}}.

    Args:
      workdir: of a trained run.
      depths: increasing.
      passes: at most so many looks at every image; twice as many as there are steps, where that is
        fewer. Four times as many at infinite depth.
      on_record: told what was evaluated.

    Raises:
      InputError: the workdir holds no trained run.
    """
    from diffenc_jax import workdir as workdirs
    from diffenc_jax.calibrate import Calibration
    from diffenc_jax.evaluate import Evaluator
    from diffenc_jax.trained import open_trained

    config = workdirs.configuration(workdir)
    config.eval.estimator = "bound"
    run = open_trained(config, workdir, fitting=True)
    evaluator = Evaluator(run.model, config, run.dataset, run.mesh)
    calibration = Calibration(run.model, run.params, config, run.dataset, run.mesh)

    def record(depth, times, ratio, passes):
        loss = dataclasses.replace(run.model.loss, depth=depth, variance_ratio=ratio, times=times)
        estimator = evaluator.estimator.at(loss, passes, calibration)
        got = evaluator.record(run.params, run.step, workdir, estimator, FOLDER)
        on_record(f"depth {depth or 'infinite'}, {times} times, ratio {ratio}: {got['bpd']['total']:.4f} bits/dim")
        return got

    # Infinite depth is what everything else is measured from, so its noise counts most.
    records = {"infinite": record(None, "uniform", 1.0, 4 * passes)}
    for depth in depths:
        looks = min(2 * depth, passes)
        records[depth] = {name: record(depth, *choice, looks) for name, choice in CHOICES.items()}
    return records


def table(records: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each depth and choice: test bits/dim, what they exceed infinite depth by, and what is kept.

    'kept' is the excess as a part of the excess that uniform times and ratio 1 have at that depth.
    """
    infinite = records["infinite"]["bpd"]["total"]
    rows = [{"depth": "infinite", "choice": "", "bpd": infinite, "excess": 0.0, "kept": ""}]
    for depth, choices in records.items():
        if depth == "infinite":
            continue
        plain = choices[UNIFORM]["bpd"]["total"] - infinite
        for name, record in choices.items():
            bpd = record["bpd"]["total"]
            rows.append(
                {"depth": depth, "choice": name, "bpd": bpd, "excess": bpd - infinite, "kept": (bpd - infinite) / plain}
            )
    return rows


def draw(rows: list[dict[str, Any]], title: str) -> "Figure":
    """Excess over infinite depth against depth, a line for each choice."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
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


def write(workdir: Path, records: dict[str, Any]) -> tuple[list[dict[str, Any]], Path]:
    """Writes the table (.csv) and the plot (.png) of `records`; returns the rows and the table's path."""
    infinite, rows = records["infinite"], table(records)
    path = workdir / FOLDER / f"{infinite['dataset']['split']}-{infinite['step']}.csv"
    tables.write(path, rows)
    dataset = infinite["dataset"]
    title = f"{infinite['arm']} on {dataset['name']} ({dataset['split']}), step {infinite['step']}"
    draw(rows, title).savefig(path.with_suffix(".png"), dpi=150)
    return rows, path


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that `write` wrote.

    Raises:
      InputError: it cannot be read as one.
    """
    from diffenc_jax.errors import InputError

    kinds = {"depth": int, "choice": str, "bpd": float, "excess": float, "kept": float}
    try:
        first, *others = tables.read(path)
        infinite = {"depth": first["depth"], "choice": "", "bpd": float(first["bpd"]), "excess": 0.0, "kept": ""}
        rows = [infinite, *({key: kind(row[key]) for key, kind in kinds.items()} for row in others)]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be read as the table of a depth study; make it anew") from error
    by_depth = _by_depth(rows)
    if not by_depth or any(list(choices) != list(CHOICES) for choices in by_depth.values()):
        raise InputError(f"{path} has not every choice at every depth; make it anew")
    return rows


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The table to be read, a line a depth: for each of `CHOICES` what `CELLS` says."""
    lines = [
        [str(depth), *(f"{row['bpd']:.4f} ({row['kept']:.2f})" for row in choices.values())]
        for depth, choices in _by_depth(rows).items()
    ]
    return [*lines, ["infinite", *[f"{rows[0]['bpd']:.4f}       "] * len(CHOICES)]]


def _by_depth(rows: list[dict[str, Any]]) -> dict[int, dict[str, dict[str, Any]]]:
    """The rows by finite depth and choice."""
    by_depth: dict[int, dict[str, dict[str, Any]]] = {}
    for row in rows[1:]:
        by_depth.setdefault(row["depth"], {})[row["choice"]] = row
    return by_depth


def show(rows: list[dict[str, Any]], path: Path) -> None:
    """Prints the table; its last line is what is kept of the excess with both, at `REFERENCE_DEPTH`."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    by_depth = _by_depth(rows)
    shown = Table(title=f"test {CELLS}", title_justify="left")
    for column in ("depth", *CHOICES):
        shown.add_column(column, justify="right")
    for line in cells(rows):
        shown.add_row(*line)
    console.print(shown)
    console.print(f"table: {path}\nplot: {path.with_suffix('.png')}", highlight=False, soft_wrap=True)
    depth = REFERENCE_DEPTH if REFERENCE_DEPTH in by_depth else max(by_depth)
    print(f"excess kept at T={depth}: {by_depth[depth][BOTH]['kept']:.2f}")


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m diffenc_jax.depth_study",
        description="Test bits/dim of a trained run by number of steps, with the best times and ratios of variances.",
    )
    parser.add_argument("workdir", type=Path, help="of a trained run")
    parser.add_argument("--depths", type=_depths, default=list(DEPTHS), help="numbers of steps, by commas")
    parser.add_argument("--passes", type=positive, default=PASSES, help="looks at every image")
    return parser.parse_args(argv)


def _depths(text: str) -> list[int]:
    return sorted({positive(part) for part in text.split(",")})


def main(argv: list[str]) -> int:
    """Exit code: 0, 1 for a run that cannot go on, 2 for bad input."""
    arguments = _arguments(argv)

    def body():
        records = study(arguments.workdir, arguments.depths, arguments.passes, lambda text: print(text, flush=True))
        show(*write(arguments.workdir, records))

    return run(body, interrupted="the records so far are kept, the same command goes on from there")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

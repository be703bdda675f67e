"""Measure the diffusion loss of trained runs by noise level, and the errors that it consists of.

Evaluates every image of `eval.split` in each of --cells equal parts of the time t, from the data at 0 to the noise at
1, at infinite depth, with the averaged (EMA) parameters of the newest checkpoint. Writes
WORKDIR/loss_by_time/<split>-<step>.csv, one row per cell, and a figure (.png, .pdf) beside it: the diffusion loss per
unit of γ = -log SNR in bits/dim, whose area is the bound's diffusion term, and the squared errors of the velocity and
of the encoder's drift, with bands of two standard errors. Several runs are evaluated under common noise and drawn into
one figure, '<split>-<step>-compared' in the folder of the first. Files of an earlier call are replaced. The cost is
--cells times --draws forward passes per image, 200 by default.
"""

from argparse import ArgumentParser, Namespace

from diffenc_jax.commands.arguments import EVERY_STUDY, add_changes, changes_of, place, positive, watched

EXAMPLE = "diffenc loss-by-time runs/digits-vdm-seed0 runs/digits-diffenc-seed0"
ON_INTERRUPT = "finished tables are kept; the same command starts again"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("workdirs", type=place, nargs="+", metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument("--cells", type=positive, default=50, metavar="N", help="number of equal parts of t")
    parser.add_argument(
        "--draws", type=positive, default=4, metavar="N", help="draws of time and noise per image and cell"
    )
    add_changes(parser, *EVERY_STUDY)


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.terminal import make_console
    from diffenc_jax.lab.figures.style import save_figure
    from diffenc_jax.lab.studies.by_time import figure, measure, table
    from diffenc_jax.lab.studies.outputs import data_title, table_path, write_rows

    runs = measure.open_runs(arguments.workdirs, changes_of(arguments))
    paths = [table_path(run, table.FOLDER) for run in runs]
    console, curves = make_console(), []
    for run, path, name in zip(runs, paths, figure.shortest_names(runs), strict=True):
        with watched(console, f"loss by time of {run.workdir}", total=1.0) as on_part:
            values = measure.measure_loss_by_time(run, arguments.cells, arguments.draws, on_part=on_part)
        summary = table.summarize(values, run.model.spec.dims)
        write_rows(path, summary.rows)
        print(f"{run.workdir}: {summary.describe(measure.recorded_diffusion(run))}\ntable: {path}", flush=True)
        label = f"{name}: {summary.area:.3f} ± {summary.error:.3f} bits/dim"
        curves.append(figure.Curve(label, run.config.arm, summary.rows))
    steps = ", ".join(str(step) for step in sorted({run.step for run in runs}))
    title = data_title(runs[0].dataset.name, runs[0].config.eval.split, steps)
    picture = paths[0].with_name(f"{paths[0].stem}{'' if len(runs) == 1 else '-compared'}")
    save_figure(figure.draw_curves(curves, "area of the diffusion loss ± standard error", title), picture)
    print(f"figure: {picture}.png, .pdf")
    arguments.wrote_to = [run.workdir for run in runs]

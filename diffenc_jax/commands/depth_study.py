"""Measure bits/dim of a trained run by number of steps, with uniform and with fitted times and variance ratios.

Evaluates the newest checkpoint at infinite depth and at every given depth: with times uniform in t and ratio 1, with
the best variance ratio per step and pixel, with the best times, and with both (arXiv 2310.19789, section 3.3). Times
and ratios are fitted on training images. All evaluations are of the split that the run evaluates on, with noise of one
seed. Writes to WORKDIR/depth_study a record per evaluation, a table with the standard errors of the differences to
infinite depth, paired by image, and a figure (.png, .pdf). An interrupted study is resumed.
"""

from argparse import ArgumentParser, Namespace

from diffenc_jax.commands.arguments import place, positive, watched

EXAMPLE = "diffenc depth-study runs/digits-vdm-seed0 --depths=5,10,50"
ON_INTERRUPT = "finished records are kept; the same command continues from there"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("workdir", type=place, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument("--depths", type=_depths, default="5,10,20,50,100,250,1000", help="numbers of steps")
    parser.add_argument("--passes", type=positive, default=64, help="passes over the images at each depth")


def _depths(text: str) -> list[int]:
    return sorted({positive(part) for part in text.split(",")})


def run(arguments: Namespace) -> None:
    from diffenc_jax.display.terminal import make_console, print_table
    from diffenc_jax.runs.files import save_figure
    from diffenc_jax.runs.trained import open_trained
    from diffenc_jax.runs.workdir import stored_config
    from diffenc_jax.studies.depth import figure, measure, table
    from diffenc_jax.studies.outputs import run_title, table_path, write_rows

    config = stored_config(arguments.workdir).replace({"eval.estimator": "bound", "eval.num_draws": 1})
    trained = open_trained(arguments.workdir, config, needs_training_images=True)
    path = table_path(trained, table.FOLDER)
    console = make_console()
    found = measure.measure_depths(
        trained,
        arguments.depths,
        arguments.passes,
        on_record=lambda line: console.print(line, highlight=False, soft_wrap=True),
        watch=lambda text, total: watched(console, text, total),
    )
    rows, picture = table.tabulate(found), path.with_suffix("")
    write_rows(path, rows)
    save_figure(figure.draw_excess(rows, run_title(trained)), picture)
    print_table(table.depth_table(rows, run_title(trained)))
    print(f"table: {path}\nfigure: {picture}.png, .pdf\n{table.summary_line(rows)}")
    arguments.wrote_to = [trained.workdir]

"""Measure bits/dim of a trained run by number of steps, with uniform and with fitted times and variance ratios.

Evaluates the newest checkpoint at infinite depth and at every given depth, by the ratio of the variance of the path in
a step to that of the model (loss.variance_ratio): 1, the best one per step and pixel (arXiv 2310.19789, section 3.3),
the best function of the pixel's estimate, and that of the error head for a run that has one; each with times uniform in
t and with the best times (+times). Times and ratios are fitted on training images. All evaluations are of `eval.split`,
with noise of one seed. Writes to WORKDIR/depth_study a record per evaluation, a table with the standard errors of the
differences to infinite depth, paired by image, and a figure (.png, .pdf), which replace those of an earlier study.
Existing records are read, so that an interrupted study is resumed. All depths and choices take about 2,000 passes over
the images, and --depths=50 --choices=1 about 300.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from diffenc_jax.commands.arguments import EVERY_STUDY, add_changes, changes_of, place, positive, watched

EXAMPLE = "diffenc depth-study runs/digits-vdm-seed0 --depths=5,10,50"
ON_INTERRUPT = "finished records are kept; the same command continues from there"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("workdir", type=place, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument(
        "--depths", type=_depths, default="5,10,20,50,100,250,1000", metavar="T,...", help="numbers of steps"
    )
    parser.add_argument(
        "--choices",
        type=_choices,
        metavar="CHOICE,...",
        help="ratios to study beside 1: values of loss.variance_ratio, alone for uniform times or with +times for the "
        "best times, such as optimal_estimate+times (default: 1, optimal_pixel, optimal_estimate, and learned_error "
        "for a run with an error head, each alone and with +times)",
    )
    parser.add_argument(
        "--passes",
        type=positive,
        default=64,
        metavar="P",
        help="most passes over the images at a finite depth T, which takes at most 2 T; infinite depth takes 4 P",
    )
    add_changes(parser, *EVERY_STUDY, "eval.dtype", "eval.seed", "fit")


def _depths(text: str) -> list[int]:
    return sorted({positive(part) for part in text.split(",")})


def _choices(text: str) -> list[str]:
    from diffenc_jax.lab.studies.depth.table import CHOICES

    names = [part.strip() for part in text.split(",")]
    unknown = [name for name in names if name not in CHOICES]
    if unknown:
        raise ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(CHOICES)}")
    return names


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.terminal import make_console, print_table
    from diffenc_jax.lab.figures.style import save_figure
    from diffenc_jax.lab.studies.depth import figure, measure, table
    from diffenc_jax.lab.studies.outputs import run_title, table_path, write_rows
    from diffenc_jax.runs.trained import open_trained
    from diffenc_jax.runs.workdir import stored_config

    changes = changes_of(arguments) | {"eval.estimator": "bound", "eval.num_draws": 1}
    config = stored_config(arguments.workdir).replace(changes)
    trained = open_trained(arguments.workdir, config, needs_training_images=True)
    path = table_path(trained, table.FOLDER)
    console = make_console()
    found = measure.measure_depths(
        trained,
        arguments.depths,
        arguments.choices or table.studied(trained.model.has_error_head),
        arguments.passes,
        on_record=lambda line: console.print(line, highlight=False, soft_wrap=True),
        watch=lambda text, total: watched(console, text, total),
    )
    rows, picture = table.tabulate(found), path.with_suffix("")
    write_rows(path, rows)
    save_figure(figure.draw_excess(rows, run_title(trained)), picture)
    for part in table.depth_tables(rows, run_title(trained)):
        print_table(part)
    print(f"table: {path}\nfigure: {picture}.png, .pdf\n{table.summary_line(rows)}")
    arguments.wrote_to = [trained.workdir]

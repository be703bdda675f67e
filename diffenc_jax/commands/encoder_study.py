"""Measure what the encoder of a trained run does to images, and the bound with other encoders in its place.

Evaluates every image of a split at --gammas noise levels from the data to the noise, with the EMA parameters of the
newest checkpoint, and evaluates the bound with the trained encoder and with others in its place. Writes to
WORKDIR/encoder_study, each name after '<split>-<step>':

  .csv         a row per γ: the root mean square of x_t - x, of dx_t/dγ and of dx_t/dλ - σ_t² x̂, and the means of the
               amounts added to and removed from x, all per dimension, with standard errors over images (_se)
  -x_t, -difference, -derivative
               (.png, .pdf) x_t, x_t - x and dx_t/dγ of the first images, at γ between which x_t moves equally far, with
               a colour bar per row
  -mean        (.png, .pdf) the amounts added and removed per pixel, means over the split
  -curves      (.png, .pdf) the table
  -off.json    the bound with each encoder by term, and its difference to the trained one, paired by image under common
               noise; the records that it comes from lie beside it
"""

import argparse

from diffenc_jax.commands.arguments import add_split, place, positive, watched

EXAMPLE = "diffenc encoder-study runs/digits-diffenc-seed0"
ON_INTERRUPT = "written files are kept; the same command draws again and continues its evaluations"
# Number of 2-d points that are drawn, unless more images are asked for.
POINTS = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=place, metavar="WORKDIR", help="folder of a trained run")
    add_split(parser)
    parser.add_argument("--images", type=positive, default=8, help="number of images that are drawn")
    parser.add_argument("--gammas", type=_two_or_more, default=41, help="number of noise levels")
    parser.add_argument("--passes", type=positive, default=8, help="passes over the images for each bound")


def _two_or_more(text: str) -> int:
    if positive(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} leaves out an end of the path; take at least 2")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax.display.terminal import make_console, print_table
    from diffenc_jax.runs.files import MAKE_WRITABLE, save_figure, write_json, writing
    from diffenc_jax.studies.encoder import figure, measure, replaced, table
    from diffenc_jax.studies.outputs import run_title, table_path, write_rows

    trained = measure.open_run(arguments.workdir, arguments.passes, arguments.split)
    path, console = table_path(trained, table.FOLDER), make_console()
    keep = max(arguments.images, POINTS) if trained.model.spec.shape == (1, 1, 2) else arguments.images
    with watched(console, "images by γ", total=1.0) as on_part:
        effects = measure.measure_by_gamma(trained, arguments.gammas, keep, on_part=on_part)
    rows = table.tabulate(effects)
    write_rows(path, rows)
    with writing(path.parent, MAKE_WRITABLE):
        for name, drawn in figure.draw_figures(effects, rows, run_title(trained)).items():
            save_figure(drawn, path.with_name(f"{path.stem}-{name}"))
    figures = path.with_name(f"{path.stem}-*.png")
    print(f"{table.describe_extremes(rows)}\ntable: {path}\nfigures: {figures}, .pdf", flush=True)
    bounds = replaced.measure_bounds(trained, lambda text, total: watched(console, text, total))
    about = {"step": trained.step, "seed": trained.config.seed, "arm": trained.config.arm}
    about["dataset"] = trained.dataset.fingerprint(trained.config.eval.split)
    file = path.with_name(f"{path.stem}-off.json")
    with writing(path.parent, MAKE_WRITABLE):
        write_json(file, about | {"encoders": bounds})
    print_table(table.bounds_table(bounds), console)
    print("\n".join([*table.meanings(bounds), f"bounds: {file}"]))
    arguments.wrote_to = [trained.workdir]

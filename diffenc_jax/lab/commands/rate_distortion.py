"""Measure the error of the reconstructed image by the number of bits received so far.

The bound is the length of a code that sends noise, then step by step less noisy images, and last the pixels. Measures
after each of these steps the rate, bits/dim sent so far, and the distortion, the error of the image that the model then
estimates, on all images of `eval.split`. The last rate is the bound at that depth. Writes to WORKDIR/rate_distortion,
each name after '<split>-<step>':

  .csv         a row per step: rate (bits/dim), root mean squared error (RMSE, for pixels of 0 to 255) and PSNR (dB),
               with standard errors over images and noise (_se)
  .png, .pdf   the curve
  -images.png  the first images, and those shown for them at five rates

Files of an earlier call are replaced. --config.key=value changes how the run is evaluated: loss and fit, such as
--config.loss.times=optimal for the best times, which are fitted on training images, and split, seed, dtype and
batch_size of eval.
"""

import argparse
from typing import TYPE_CHECKING

from diffenc_jax.commands.arguments import EVERY_STUDY, add_changes, changes_of, place, positive, watched

if TYPE_CHECKING:
    from diffenc_jax.config import Config

EXAMPLE = """\
diffenc rate-distortion runs/digits-vdm-seed0 --depth=50 \\
    --config.loss.times=optimal"""
ON_INTERRUPT = "nothing is written; the same command starts again"
# Number of steps for a run at infinite depth.
DEPTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=place, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument(
        "--depth",
        type=positive,
        metavar="T",
        help=f"number of steps (default: loss.depth of the run, or {DEPTH} if that is infinite)",
    )
    parser.add_argument(
        "--passes", type=positive, metavar="P", help="passes over the images (default: eval.passes of the run)"
    )
    add_changes(parser, *EVERY_STUDY, "eval.dtype", "eval.seed", "fit", "loss")


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax.core.terminal import make_console, print_table
    from diffenc_jax.lab.figures.style import save_figure
    from diffenc_jax.lab.studies.outputs import run_title, table_path, write_rows
    from diffenc_jax.lab.studies.rate_distortion import figure, measure, table
    from diffenc_jax.runs.files import MAKE_WRITABLE, writing
    from diffenc_jax.runs.trained import open_trained
    from diffenc_jax.sampling.pictures import VERSION_IMAGES, num_shown

    config = _config(arguments)
    trained = open_trained(arguments.workdir, config, needs_training_images=config.loss.is_fitted)
    path, console, spec = table_path(trained, table.FOLDER), make_console(), trained.model.spec
    with watched(console, f"rate and distortion over {config.loss.depth} steps", 1.0) as on_part:
        values = measure.measure_rate_distortion(trained, num_shown(spec.shape, VERSION_IMAGES), on_part)
    rows, title = table.tabulate(values), run_title(trained)
    picture, images = path.with_suffix(""), path.with_name(f"{path.stem}-images.png")
    write_rows(path, rows)
    with writing(path.parent, MAKE_WRITABLE):
        save_figure(figure.draw_curve(rows, config.arm, title, config.loss), picture)
        figure.write_shown(values, rows, spec.pixel_levels, images)
    print_table(table.rates_table(rows, title), console)
    print(f"table: {path}\nfigure: {picture}.png, .pdf\nimages: {images}\n{table.summary_line(rows)}")
    arguments.wrote_to = [trained.workdir]


def _config(arguments: argparse.Namespace) -> "Config":
    """The configuration of the run with the changes that are asked for, at a finite depth."""
    from diffenc_jax.runs.workdir import stored_config

    stored, changes = stored_config(arguments.workdir), changes_of(arguments)
    changes["loss.depth"] = arguments.depth or changes.get("loss.depth") or stored.loss.depth or DEPTH
    if arguments.passes:
        changes["eval.passes"] = arguments.passes
    return stored.replace(changes)

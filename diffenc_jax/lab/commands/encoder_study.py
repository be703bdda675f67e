"""Measure what the encoder of a trained run does to images, the bound with other encoders, and the price of its drift.

Evaluates every image x of `eval.split` and its encoded images x_t at --gammas noise levels γ = -log SNR = -λ, from the
data to the noise, with the averaged (EMA) parameters of the newest checkpoint. Then it evaluates the bound with the
trained encoder and with others in its place, and measures the price of the encoder's drift dx_t/dγ at infinite depth
and what its end terms win back. Writes to WORKDIR/encoder_study, each name after '<split>-<step>':

  .csv         a row per γ: the root mean square of x_t - x, of dx_t/dγ and of dx_t/dλ - σ_t² x̂, where x̂ is the model's
               estimate and σ_t² the variance of the noise, and the means of the amounts added to and removed from x,
               all per dimension, with standard errors over images (_se)
  -x_t         (.png, .pdf) x_t of the first images, at γ between which x_t moves equally far
  -difference  (.png, .pdf) the same for x_t - x, on one scale for all images
  -derivative  (.png, .pdf) the same for dx_t/dγ
  -mean        (.png, .pdf) the amounts added and removed per pixel, means over the split
  -curves      (.png, .pdf) the table
  -off.json    the bound with each encoder by term, and its difference to the trained one, paired by image under common
               noise; the records that it comes from lie beside it
  -price       (.csv, .png, .pdf) the price of the drift by γ, an upper bound by each of three predictors of dx_t/dγ
  -price.json  the price integrated over γ, and the terms at the ends of the path

The price is what the diffusion term pays for the part of dx_t/dγ that z_γ does not determine. A run without a
derivative head gets one, trained on the frozen run and kept as head-<step>-<steps>-<digest>.npz. Other files of an
earlier call are replaced. The study is for encoders that move x_t, with one γ for all pixels: not for the arms vdm,
diffenc-affine and vdm-polynomial.
"""

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

from diffenc_jax.commands.arguments import EVERY_STUDY, add_changes, changes_of, place, positive, watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from matplotlib.figure import Figure
    from rich.console import Console

    from diffenc_jax.runs.trained import Trained

EXAMPLE = "diffenc encoder-study runs/digits-diffenc-seed0"
ON_INTERRUPT = "written files are kept; the same command draws again and continues its evaluations"
# Number of 2-d points that are drawn, unless more images are asked for.
POINTS = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=place, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument("--images", type=positive, default=8, metavar="N", help="number of images that are drawn")
    parser.add_argument("--gammas", type=_two_or_more, default=41, metavar="N", help="number of noise levels")
    parser.add_argument("--passes", type=positive, default=8, metavar="P", help="passes over the images for each bound")
    parser.add_argument(
        "--head-steps",
        type=_count,
        default=1000,
        metavar="N",
        help="training steps of the derivative head of a run that has none; 0 trains none and leaves its bound out",
    )
    add_changes(parser, *EVERY_STUDY)


def _two_or_more(text: str) -> int:
    if positive(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} leaves out an end of the path; take at least 2")
    return int(text)


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax.core.terminal import make_console
    from diffenc_jax.lab.studies.encoder import measure, table
    from diffenc_jax.lab.studies.outputs import table_path

    trained = measure.open_run(arguments.workdir, arguments.passes, changes_of(arguments))
    study = _Study(trained, table_path(trained, table.FOLDER), make_console())
    gamma = _effects(study, arguments.gammas, arguments.images)
    bounds = _bounds(study)
    _price(study, gamma, bounds, arguments.head_steps)
    arguments.wrote_to = [trained.workdir]


class _Study(NamedTuple):
    """The run, the path of the table of effects, beside which all files lie, and where progress is shown."""

    run: "Trained"
    path: "Path"
    console: "Console"

    def file(self, ending: str) -> "Path":
        """The path of the file '<split>-<step><ending>'."""
        return self.path.with_name(self.path.stem + ending)

    def watch(self, text: str, total: float) -> "AbstractContextManager[Callable[..., None]]":
        """Progress of a part of the study."""
        return watched(self.console, text, total)

    def write(self, ending: str, content: dict[str, Any]) -> "Path":
        """Write a JSON file that also says which run and data it is about; returns its path."""
        from diffenc_jax.runs.files import MAKE_WRITABLE, write_json, writing

        file, config = self.file(ending), self.run.config
        about = {"step": self.run.step, "seed": config.seed, "arm": config.arm}
        about["dataset"] = self.run.dataset.fingerprint(config.eval.split)
        with writing(file.parent, MAKE_WRITABLE):
            write_json(file, about | content)
        return file

    def draw(self, ending: str, drawn: "Figure") -> None:
        """Write a figure as .png and .pdf."""
        from diffenc_jax.lab.figures.style import save_figure
        from diffenc_jax.runs.files import MAKE_WRITABLE, writing

        with writing(self.path.parent, MAKE_WRITABLE):
            save_figure(drawn, self.file(ending))


def _effects(study: _Study, gammas: int, images: int) -> "np.ndarray":
    """Measure, write and draw the effects by γ; returns the γ."""
    from diffenc_jax.lab.studies.encoder import figure, measure, table
    from diffenc_jax.lab.studies.outputs import run_title, write_rows

    keep = max(images, POINTS) if study.run.model.spec.shape == (1, 1, 2) else images
    with study.watch("images by γ", 1.0) as on_part:
        effects = measure.measure_by_gamma(study.run, gammas, keep, on_part=on_part)
    rows = table.tabulate(effects)
    write_rows(study.path, rows)
    for name, drawn in figure.draw_figures(effects, rows, run_title(study.run)).items():
        study.draw(f"-{name}", drawn)
    print(f"{table.describe_extremes(rows)}\ntable: {study.path}\nfigures: {study.file('-*.png')}, .pdf", flush=True)
    return effects.gamma


def _bounds(study: _Study) -> dict[str, Any]:
    """Measure, write and print the bounds by encoder."""
    from diffenc_jax.core.terminal import print_table
    from diffenc_jax.lab.studies.encoder import replaced, table

    bounds = replaced.measure_bounds(study.run, study.watch)
    file = study.write("-off.json", {"encoders": bounds})
    print_table(table.bounds_table(bounds), study.console)
    print("\n".join([*table.meanings(bounds), f"bounds: {file}"]), flush=True)
    return bounds


def _price(study: _Study, gamma: "np.ndarray", bounds: dict[str, Any], head_steps: int) -> None:
    """Measure, write, draw and print the price of the drift and what the ends of the path win back."""
    from diffenc_jax.core.terminal import print_table
    from diffenc_jax.lab.studies.encoder import balance, ends, figure, head, predictors
    from diffenc_jax.lab.studies.outputs import run_title, write_rows

    run, dims = head.with_head(study.run, head_steps, study.watch), study.run.model.spec.dims
    with study.watch("price by γ", 1.0) as on_part:
        rates = predictors.measure_rates(run, gamma, on_part)
    rows = balance.tabulate_price(gamma, rates, dims)
    write_rows(study.file("-price.csv"), rows)
    study.draw("-price", figure.draw_price(rows, run_title(run)))
    found = balance.totals(gamma, rates, ends.measure_ends(study.run, bounds), dims)
    file = study.write("-price.json", found)
    print_table(balance.price_table(found), study.console)
    print_table(balance.ends_table(found), study.console)
    print(f"price: {file}\n{balance.summary(found)}")

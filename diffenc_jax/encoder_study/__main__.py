"""What the encoder of a trained run does to the images, and what its path is worth in bits.

python -m diffenc_jax.encoder_study WORKDIR [--split=test] [--images=8] [--gammas=41] [--passes=8]

Looks at every image of a split at so many γ from the data to the noise (`by_gamma.py`), with the EMA parameters of
the newest checkpoint, and evaluates the bound with the encoder and with others in its place (`off.py`). Writes into
WORKDIR/encoder_study, each name after '<split>-<step>':

  .csv         a row a γ: the root mean square of x_t - x, of dx_t/dγ and of dx_t/dλ - σ_t² x̂, and the means of what
               is added to and removed from x, all a dimension, with standard errors over images (_se)
  -x_t, -difference, -derivative
               (.png, .pdf) the first images, x_t - x and dx_t/dγ by γ, amplified as it says above each column
  -mean        ditto, what is added and removed pixel by pixel, a mean over the split
  -curves      ditto, the table
  -off.json    the bound with each encoder by term, and by how much it differs, paired by image under common noise;
               the records that it comes from lie beside it
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffenc_jax import tables
from diffenc_jax.commands import positive, run
from diffenc_jax.encoder_study.table import CAPTION, FOLDER, cells, meanings

if TYPE_CHECKING:
    from diffenc_jax.encoder_study.by_gamma import ByGamma
    from diffenc_jax.trained import Trained

IMAGES, GAMMAS, PASSES = 8, 41, 8
SEED = 0
# Of two dimensions, so many points are drawn, if not more images are asked for.
POINTS = 200
FORMATS = (".png", ".pdf")
FIGURE_DPI = 200
# Columns where the output is no terminal, which has a width of its own.
WIDTH = 120


def open_run(workdir: Path, split: str | None, passes: int) -> "Trained":
    """The run in `workdir`, set up to look at `split`; None: the one that it evaluates on.

    Times are drawn uniformly: those of importance sampling are a model's own, and the noise would not be common.

    Raises:
      InputError: there is none, it has no such split, its encoder changes nothing, or nothing can be written there.
    """
    from diffenc_jax import workdir as workdirs
    from diffenc_jax.config import require
    from diffenc_jax.estimators import needs_training_images
    from diffenc_jax.trained import open_trained

    config = workdirs.configuration(workdir)
    config.eval.split = split or config.eval.split
    config.eval.estimator, config.eval.time_sampling, config.eval.draws = "bound", "uniform", 1
    config.eval.passes = passes
    run = open_trained(config, workdir, fitting=needs_training_images(config))
    require(
        run.model.encoder_kind.drifts,
        f"{workdir} is a run of {config.arm}, whose encoder changes nothing: x_t = x; give a run with another encoder",
    )
    split = config.eval.split
    count = len(run.dataset.splits[split])
    require(count > 1, f"{run.dataset.name} {split} is one image, and standard errors over images need at least two")
    workdirs.check_writable(workdir / FOLDER, workdirs.MAKE_WRITABLE)
    return run


def stem(run: "Trained") -> Path:
    """WORKDIR/encoder_study/<split>-<step>, with which the names of all files begin."""
    return run.workdir / FOLDER / f"{run.config.eval.split}-{run.step}"


def look(run: "Trained", gammas: int, images: int, on_batch: Callable[[float], None]) -> "ByGamma":
    """Looks at all images of the split."""
    from diffenc_jax.encoder_study.by_gamma import by_gamma

    split = run.dataset.splits[run.config.eval.split]
    batch_size = min(run.config.eval.batch_size, len(split))
    keep = max(images, POINTS) if run.model.spec.shape == (1, 1, 2) else images
    return by_gamma(run.model, run.params, split, run.mesh, gammas, keep, SEED, batch_size, on_batch)


def write_seen(run: "Trained", seen: "ByGamma") -> list[dict[str, float]]:
    """Writes the table and the figures; returns the table.

    Raises:
      InputError: they cannot be written.
    """
    from diffenc_jax.encoder_study.by_gamma import table
    from diffenc_jax.encoder_study.figures import draw
    from diffenc_jax.workdir import MAKE_WRITABLE, writing

    rows, start = table(seen), stem(run)
    title = f"{run.config.arm} on {Path(run.dataset.name).name} ({run.config.eval.split}), step {run.step}"
    with writing(start.parent, MAKE_WRITABLE):
        tables.write(start.with_name(f"{start.name}.csv"), rows)
        for name, figure in draw(seen, rows, title).items():
            for suffix in FORMATS:
                figure.savefig(start.with_name(f"{start.name}-{name}{suffix}"), dpi=FIGURE_DPI)
    return rows


def write_off(run: "Trained", found: dict[str, Any]) -> None:
    """Writes what switching the encoder off does, '-off.json'; raises InputError if it cannot be written."""
    from diffenc_jax.workdir import MAKE_WRITABLE, replace, writing

    about = {
        "step": run.step,
        "seed": run.config.seed,
        "arm": run.config.arm,
        "dataset": run.dataset.fingerprint(run.config.eval.split),
    }
    start = stem(run)
    with writing(start.parent, MAKE_WRITABLE):
        replace(start.with_name(f"{start.name}-off.json"), json.dumps(about | {"encoders": found}, indent=1) + "\n")


def describe(rows: list[dict[str, float]]) -> str:
    """Where x_t is farthest from x, and where it changes most."""
    far, fast = (max(rows, key=lambda row: row[name]) for name in ("difference", "derivative"))
    return (
        f"x_t is farthest from x at γ = {far['gamma']:.2f} (root mean square {far['difference']:.4f} a dimension), and "
        f"changes most at γ = {fast['gamma']:.2f} ({fast['derivative']:.4f} a unit of γ; "
        f"missed by the model's drift: {fast['residual']:.4f})"
    )


def show(found: dict[str, Any]) -> None:
    """Prints the bound with the trained encoder, by term, and what it is more with others in its place."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    (first, *others), rows = cells(found)
    shown = Table(title=CAPTION, title_justify="left")
    shown.add_column(first)
    for name in others:
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    print("\n".join(meanings(found)))


def study(workdir: Path, split: str | None, images: int, gammas: int, passes: int) -> None:
    """Writes and prints all of it."""
    from diffenc_jax.encoder_study import off

    run = open_run(workdir, split, passes)
    start = stem(run)
    with _progress() as progress:
        task = progress.add_task("images by γ", total=1.0)
        seen = look(run, gammas, images, lambda share: progress.update(task, completed=share))
    rows = write_seen(run, seen)
    print(f"{describe(rows)}\ntable: {start}.csv\nfigures: {start}-*.png, .pdf", flush=True)
    with _progress() as progress:

        def on_record(name, evaluator):
            task = progress.add_task(f"bound, encoder: {name}", total=evaluator.batches())
            return lambda: progress.advance(task)

        found = off.study(run, FOLDER, on_record)
    write_off(run, found)
    show(found)
    print(f"bounds: {start}-off.json")


def _progress():
    """A bar where there is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console()
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m diffenc_jax.encoder_study",
        description="What the encoder of a trained run does to images, and the bound with others in its place.",
    )
    parser.add_argument("workdir", type=Path, metavar="WORKDIR", help="of a trained run")
    parser.add_argument("--split", help="of the data set (default: what the run evaluates on)")
    parser.add_argument("--images", type=positive, default=IMAGES, help="that are drawn (default %(default)s)")
    parser.add_argument("--gammas", type=_two_or_more, default=GAMMAS, help="noise levels (default %(default)s)")
    parser.add_argument("--passes", type=positive, default=PASSES, help="of the bounds (default %(default)s)")
    return parser.parse_args(argv)


def _two_or_more(text: str) -> int:
    if positive(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} leaves the ends of the path out; take at least 2")
    return int(text)


def main(argv: list[str]) -> int:
    """Exit code: 0, 1 for a run that cannot go on, 2 for bad input."""
    arguments = _arguments(argv)
    return run(
        lambda: study(arguments.workdir, arguments.split, arguments.images, arguments.gammas, arguments.passes),
        interrupted="what was written is kept; the same command draws again, and goes on with its evaluations",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

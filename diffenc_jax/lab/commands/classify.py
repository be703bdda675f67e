"""Classify images by the bound of a trained run that is conditioned on labels.

Evaluates the bound of every image of `eval.split` under every label, with the averaged (EMA) parameters of the newest
checkpoint and common noise for all labels. p(label | x) is proportional to exp(-bound), the mean over --passes passes,
with equally probable labels. Writes to WORKDIR/classify, each name after '<split>-<step>':

  .csv  a row per bin of the confidence: number of images, mean confidence and accuracy
  .png, .pdf  the reliability diagram: accuracy by confidence
  .json  accuracy, -log p(label | x) and expected calibration error, how they were measured, and how much of the
         differences between labels is noise, which more passes lower
  .npz   per image: the bound under each label (nats), the probabilities, the label and the predicted one

Files of an earlier call are replaced. The cost is --passes evaluations of the split per label. --config.key=value
changes how the bound is evaluated, such as --config.loss.depth=50.
"""

import argparse

from diffenc_jax.commands.arguments import EVERY_STUDY, add_changes, changes_of, place, positive, watched

EXAMPLE = """\
diffenc train --config=digits:vdm --config.model.labels=True
diffenc classify runs/digits-vdm-seed0-labels-True --passes=64"""
ON_INTERRUPT = "nothing is written; the same command starts again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=place, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument("--passes", type=positive, default=16, metavar="P", help="passes over the images per label")
    add_changes(parser, *EVERY_STUDY, "eval.dtype", "eval.seed", "eval.time_sampling", "fit", "loss")


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax.core.terminal import make_console, print_table
    from diffenc_jax.evaluation.bound import Bound
    from diffenc_jax.lab.figures.style import save_figure
    from diffenc_jax.lab.stats.calibration import posterior
    from diffenc_jax.lab.studies.classify import figure, measure, table
    from diffenc_jax.lab.studies.outputs import run_title, table_path, write_rows
    from diffenc_jax.runs.files import MAKE_WRITABLE, write_arrays, write_json, writing
    from diffenc_jax.runs.workdir import stored_config

    changes = {"eval.passes": arguments.passes, "eval.estimator": "bound", "eval.num_draws": 1, **changes_of(arguments)}
    trained = measure.open_run(arguments.workdir, stored_config(arguments.workdir).replace(changes))
    bound = Bound(trained)
    path, console, split = table_path(trained, table.FOLDER), make_console(), trained.config.eval.split
    text = f"bound of {split} under {trained.model.spec.num_classes} labels"
    with watched(console, text, 1.0) as on_part:
        nats = measure.measure_bounds(trained, bound, on_part)
    labels, title = trained.dataset.labels[split], run_title(trained)
    rows, found = table.tabulate(nats, labels), table.totals(nats, labels)
    about = {"step": trained.step, "seed": trained.config.seed, "arm": trained.config.arm}
    about |= {"dataset": trained.dataset.fingerprint(split), "estimator": bound.describe()}
    write_rows(path, rows)
    with writing(path.parent, MAKE_WRITABLE):
        write_json(path.with_suffix(".json"), about | found)
        mean = nats.mean(axis=0)
        values = {"nats": mean, "probabilities": posterior(mean), "labels": labels, "predicted": mean.argmin(axis=1)}
        write_arrays(path.with_suffix(".npz"), **values)
        save_figure(figure.draw_reliability(rows, title), path.with_suffix(""))
    print_table(table.reliability_table(rows, title), console)
    print(f"table: {path}\nfigure: {path.with_suffix('')}.png, .pdf\nvalues: {path.with_suffix('.npz')}")
    print(table.summary(found))
    arguments.wrote_to = [trained.workdir]

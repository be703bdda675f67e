"""The bound of every image under every label, under common noise."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.core.errors import RunError, require
from diffenc_jax.data.pipeline import eval_batches
from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.evaluator import eval_precision, in_eval_dtype
from diffenc_jax.lab.studies.sweep import OnPart, batch_size, num_batches, split_images
from diffenc_jax.parallel.memory import within_memory
from diffenc_jax.parallel.sharding import in_flight, to_devices
from diffenc_jax.runs.trained import Trained, open_trained


def open_run(workdir: Path, config: Config) -> Trained:
    """The run in `workdir`, computing in `eval.dtype`, with training images if the bound needs them.

    Raises InputError if there is no such run, it is not conditioned on labels, or its split is one image.
    """
    require(
        config.model.labels,
        f"{workdir} is a run without labels, which cannot classify; train one with --config.model.labels=True",
    )
    run = open_trained(workdir, config, Bound.needs_training_images(config))
    split_images(run)
    return in_eval_dtype(run)


def measure_bounds(run: Trained, bound: Bound, on_part: OnPart = lambda part: None) -> np.ndarray:
    """Nats [G, N, K] of the images of the split that `run` evaluates on, under each of the K labels.

    They are means over the passes of each of the G independent groups of the bound (`Bound.replicates`). Times and
    noise of an image are the same for all labels, so that they add less to the differences between labels.

    Raises RunError if a bound is not finite.

    Args:
      bound: the bound of `run`.
    """
    settings, groups = run.config.eval, bound.replicates or 1
    count, classes = len(split_images(run)), run.model.spec.num_classes
    nats, total = np.zeros((groups, count, classes)), num_batches(run) * bound.passes * classes
    with (
        eval_precision(settings),
        within_memory("a classification", f"lower eval.batch_size={settings.batch_size}"),
    ):
        for rows, number, label, values in in_flight(_started(run, bound)):
            terms = sum(np.asarray(values[name], np.float64) for name in bound.terms)
            nats[number % groups, rows, label] += terms[: len(rows)] * groups / bound.passes
            on_part(1 / total)
    if not np.isfinite(nats).all():
        raise RunError(f"the bound of {int((~np.isfinite(nats)).any(axis=(0, 2)).sum())} images is not finite")
    return nats


def _started(run: Trained, bound: Bound) -> Iterator[tuple[np.ndarray, int, int, dict]]:
    """Rows, pass, label and values of each batch as its computation starts."""
    split, tables = run.dataset.examples(run.config.eval.split), bound.tables(run.params)
    size, classes = batch_size(run), run.model.spec.num_classes
    labels = [to_devices(run.mesh, np.full(size, label, np.int32)) for label in range(classes)]
    for part in eval_batches(split, size):
        batch, indices = to_devices(run.mesh, (part.batch, part.indices))
        for number, label in product(range(bound.passes), range(classes)):
            if label == 0:
                noise = bound.noise(tables, indices, number)
            values = bound.values(run.params, tables, batch._replace(labels=labels[label]), *noise)
            yield part.indices[: part.valid], number, label, values

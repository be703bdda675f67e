"""Train a model, evaluate it and draw samples.

Training continues from the newest checkpoint in the workdir. The workdir receives the configuration, checkpoints,
metrics, the record of each evaluation and the samples. A table at the end shows bits/dim by term.
"""

import argparse
import time
from typing import TYPE_CHECKING, Any

from diffenc_jax.commands.jobs import add_job_arguments, start_job

if TYPE_CHECKING:
    from diffenc_jax.data.dataset import Dataset
    from diffenc_jax.display.document import Table

EXAMPLE = "diffenc train --config=digits:diffenc --config.train.steps=500"
ON_INTERRUPT = "the same command continues from what is saved"

add_arguments = add_job_arguments


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax.api import Run
    from diffenc_jax.display.terminal import print_table
    from diffenc_jax.train.loop import check_trainable

    start = time.perf_counter()
    job = start_job(arguments)
    check_trainable(job.workdir, job.config)  # before the images are loaded and perhaps downloaded
    run = Run(job.config)
    sampling = run.sampling  # an impossible sampler is refused here, not after training
    state, record = run.fit(job.workdir, job.console)
    files = job.write_samples(sampling, state.ema, record["step"])
    print_table(closing_table(record, run.experiment.dataset), job.console)
    job.print(f"parameters: {record['params']:,}")
    job.print(f"time: {time.perf_counter() - start:.0f} s")
    job.print_files(files)
    arguments.wrote_to = job.folders


def closing_table(record: dict[str, Any], dataset: "Dataset") -> "Table":
    """Bits/dim by term of a record, above those of two trivial models of the same images."""
    import numpy as np

    from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
    from diffenc_jax.display.document import Table
    from diffenc_jax.display.numbers import format_record, format_terms

    split, levels = record["dataset"]["split"], dataset.pixel_levels
    rows = [(f"  {name}", value) for name, value in format_terms(record)]
    rows.append(("total", format_record(record).removesuffix(" bits/dim")))
    train, test = dataset.splits["train"], dataset.splits[split]
    if isinstance(train, np.ndarray):  # on several hosts each holds only a part
        rows.append(("per-pixel histogram", f"{histogram_bpd(train, test, levels):.4f}"))
    rows.append((f"uniform, log2 {levels}", f"{uniform_bpd(levels):.4f}"))
    title = f"{dataset.name}, {record['arm']}, step {record['step']}"
    return Table((f"{split}, bits/dim", ""), rows, title)

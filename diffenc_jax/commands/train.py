"""Train a model, evaluate it and draw samples.

Training continues from the newest checkpoint in the workdir. The workdir receives the configuration, checkpoints,
metrics, the record of each evaluation and the samples. A table at the end shows bits/dim by term.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from diffenc_jax.commands.jobs import add_job_arguments, start_job
from diffenc_jax.core.errors import require

if TYPE_CHECKING:
    from diffenc_jax.core.document import Table
    from diffenc_jax.data.dataset import Dataset
    from diffenc_jax.runs.record_types import Record

EXAMPLE = "diffenc train --config=digits:vdm --config.train.learning_rate=1e-3"
ON_INTERRUPT = "the same command continues from what is saved"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_job_arguments(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="train anew: move a run in the workdir to DIR.1, .2, ...; asks first",
    )
    parser.add_argument(
        "--profile",
        type=_steps,
        metavar="FIRST:LAST",
        help="trace these steps, counted from 1, into WORKDIR/plugins/profile, for XProf and TensorBoard",
    )
    parser.add_argument(
        "--no-samples", action="store_true", help="draw no samples, during training (log.samples) or at its end"
    )
    parser.add_argument("--yes", action="store_true", help="let --overwrite move the run without asking")


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax.api import Run
    from diffenc_jax.core.terminal import print_table
    from diffenc_jax.train.loop import check_trainable
    from diffenc_jax.train.profiler import Steps

    start = time.perf_counter()
    job = start_job(arguments)
    if arguments.no_samples:
        job = dataclasses.replace(job, config=job.config.replace({"log.samples": 0}))
    profiled = None if arguments.profile is None else Steps(*arguments.profile)
    if profiled is not None:
        profiled.check(job.config.train.steps)
    if not arguments.overwrite:
        check_trainable(job.workdir, job.config, profiled)  # before the images are loaded and perhaps downloaded
    elif not arguments.yes:
        _ask_to_overwrite(job.workdir)
    run = Run(job.config)
    sampling = run.sampling  # an impossible sampler is refused here, not after training
    state, record = run.fit(job.workdir, job.console, arguments.overwrite, profiled)
    files = {} if arguments.no_samples else job.write_samples(sampling, state.ema, record["step"])
    print_table(closing_table(record, run.experiment.dataset), job.console)
    job.print(f"parameters: {record['params']:,}")
    job.print(f"time: {time.perf_counter() - start:.0f} s")
    job.print_files(files)
    arguments.wrote_to = job.folders


def _steps(text: str) -> tuple[int, int]:
    """Argument type: two numbers of steps, such as 10:15."""
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:LAST, two steps counted from 1, such as 10:15")
    return int(first), int(last)


def _ask_to_overwrite(workdir: Path) -> None:
    """Ask whether a run in `workdir` may be moved aside; raises InputError if not, or without a terminal to ask on."""
    from diffenc_jax.parallel import hosts
    from diffenc_jax.runs.workdir import holds_run, place_aside

    if not hosts.is_first() or not holds_run(workdir):
        return
    move = f"move the run in {workdir} to {place_aside(workdir)}"
    require(sys.stdin.isatty(), f"--overwrite would {move}, and there is no terminal to ask on; add --yes")
    print(f"{move[0].upper()}{move[1:]} and train anew? [y/N] ", end="", flush=True)
    agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
    require(agreed, f"{workdir} stays as it is; give another --workdir, or leave out --overwrite to resume the run")


def closing_table(record: "Record", dataset: "Dataset") -> "Table":
    """Bits/dim by term of a record, above those of two trivial models of the same images."""
    import numpy as np

    from diffenc_jax.core.document import Table
    from diffenc_jax.core.numbers import format_record, format_terms
    from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd

    split, levels = record["dataset"]["split"], dataset.pixel_levels
    rows = [(f"  {name}", value) for name, value in format_terms(record)]
    rows.append(("total", format_record(record).replace(" bits/dim", "")))
    train, test = dataset.splits["train"], dataset.splits[split]
    if isinstance(train, np.ndarray):  # on several hosts each holds only a part
        rows.append(("per-pixel histogram", f"{histogram_bpd(train, np.asarray(test), levels):.4f}"))
    rows.append((f"uniform, log2 {levels}", f"{uniform_bpd(levels):.4f}"))
    title = f"{dataset.name}, {record['arm']}, step {record['step']}"
    return Table((f"{split}, bits/dim", ""), rows, title)

"""Train a model, evaluate it and draw samples.

Training continues from the newest checkpoint in the workdir. The workdir receives the configuration, checkpoints,
metrics, the record of each evaluation and, unless log.samples is 0, samples. The last lines show bits/dim by term.
"""

import argparse
import dataclasses
import time

from diffenc_jax.commands.jobs import add_job_arguments, start_job

EXAMPLE = "diffenc train --config=digits:vdm --config.train.learning_rate=1e-3"
ON_INTERRUPT = "the same command continues from what is saved"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_job_arguments(parser)
    add = parser.add_argument
    add("--overwrite", action="store_true", help="train anew: move a run in the workdir to DIR.1, .2, ...")
    text = "trace these steps, counted from 1, into WORKDIR/plugins/profile, for XProf and TensorBoard"
    add("--profile", type=_steps, metavar="FIRST:LAST", help=text)
    add("--no-samples", action="store_true", help="draw no samples, as with log.samples=0")


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax.api import Run
    from diffenc_jax.runs.stored import StoredRun
    from diffenc_jax.train.loop import check_trainable
    from diffenc_jax.train.profiler import StepRange

    start = time.perf_counter()
    job = start_job(arguments)
    if arguments.no_samples:
        job = dataclasses.replace(job, config=job.config.replace({"log.samples": 0}))
    # The workdir is checked before the images are loaded and perhaps downloaded.
    done = 0 if arguments.overwrite else check_trainable(job.stored, job.config)
    profiled = None if arguments.profile is None else StepRange(*arguments.profile)
    if profiled is not None:
        profiled.check(job.config.train.steps, done)
    run = Run(job.config)
    sampling = run.sampling  # an impossible sampler is refused here, not after training
    state, record = run.fit(job.stored.workdir, job.console, arguments.overwrite, profiled)
    trained = StoredRun(job.stored.workdir)  # which was perhaps no run when the job started
    files = job.write_samples(sampling, state.ema, record["step"], trained) if job.config.log.samples else {}
    job.print_record(record)
    job.print(f"parameters: {record['params']:,}")
    job.print(f"time: {time.perf_counter() - start:.0f} s")
    job.print_files(files)


def _steps(text: str) -> tuple[int, int]:
    """Argument type: two numbers of steps, such as 10:15."""
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:LAST, two steps counted from 1, such as 10:15")
    return int(first), int(last)

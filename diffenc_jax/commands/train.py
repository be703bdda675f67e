"""Train a model, evaluate it and draw samples.

Training continues from the newest checkpoint in the workdir. RUN, the folder of a run, continues that run with its own
configuration. The workdir receives the configuration, checkpoints,
metrics, the record of each evaluation and, unless log.samples is 0, samples. The last lines show bits/dim by term.
"""

import argparse
import dataclasses
import time

from etils import epy

from diffenc_jax.commands.jobs import add_job_arguments, start_job

with epy.lazy_imports():  # help needs none of them
    from diffenc_jax import api
    from diffenc_jax.runs import stored
    from diffenc_jax.train import loop, profiler

EXAMPLE = """\
diffenc train --config=digits:vdm --config.train.learning_rate=1e-3
diffenc train runs/digits-vdm-seed0 --config.train.steps=3000"""
ON_INTERRUPT = "the same command continues from what is saved"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_job_arguments(parser)
    add = parser.add_argument
    add("--overwrite", action="store_true", help="train anew: move a run in the workdir to DIR.1, .2, ...")
    text = "trace these steps, counted from 1, into WORKDIR/plugins/profile, for XProf and TensorBoard"
    add("--profile", type=_steps, metavar="FIRST:LAST", help=text)
    add("--no-samples", action="store_true", help="draw no samples, as with log.samples=0")


def run(arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    job = start_job(arguments)
    if arguments.no_samples:
        job = dataclasses.replace(job, config=job.config.replace({"log.samples": 0}))
    # The workdir is checked before the images are loaded and perhaps downloaded.
    done = 0 if arguments.overwrite else loop.check_trainable(job.stored, job.config)
    profiled = None if arguments.profile is None else profiler.StepRange(*arguments.profile)
    if profiled is not None:
        profiled.check(job.config.train.steps, done)
    run = api.Run(job.config, data=job.data)
    sampling = run.sampling  # an impossible sampler is refused here, not after training
    workdir, overwrite = job.stored.workdir, arguments.overwrite
    state, record = loop.train(run, workdir, job.console, run.training_samples, overwrite, profiled)
    trained = stored.StoredRun(job.stored.workdir)  # which was perhaps no run when the job started
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

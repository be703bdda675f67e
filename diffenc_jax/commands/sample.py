"""Draw samples from a trained run.

Samples the newest checkpoint's averaged parameters, as the section `sample` of the configuration describes. RUN is the
folder of the run. In place of RUN, give the --config and every --config.key=value of its training, and --workdir if the
run is not in its default folder. RUN/samples receives the images, STEP-SAMPLER-seedSEED.npz, and pictures of them.
Images of the same seed and sampler are kept, and only missing ones are drawn.
"""

import argparse

from diffenc_jax.commands.jobs import add_trained_job_arguments, start_job

EXAMPLE = "diffenc sample runs/digits-diffenc-seed0 --config.sample.num=64"
ON_INTERRUPT = "the same command continues from the batches that are saved"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_job_arguments(parser, "sample", "fit", "loss", "ode", "eval.split")


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax import api

    job = start_job(arguments)
    trained = api.open(job.stored, config=job.config)
    files = job.write_samples(trained.sampling, trained.params, trained.checkpoint, job.stored)
    job.print(f"step {trained.checkpoint}: {job.config.sample.num} samples")
    job.print_files(files)

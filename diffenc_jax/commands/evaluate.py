"""Evaluate checkpoints of a trained run.

Estimates bits/dim of the averaged parameters on all images of `eval.split`. The section `eval` of the configuration
describes the evaluation; the newest checkpoint is evaluated unless `eval.checkpoints` names others. RUN is the folder
of the run. In place of RUN, give the --config and every --config.key=value of its training, and --workdir if the run is
not in its default folder. Each record is written to RUN/eval, with the nats per image and term beside it. An evaluation
that has a record is not repeated; every other evaluation gets a file of its own.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from diffenc_jax.commands.arguments import watched
from diffenc_jax.commands.jobs import add_trained_job_arguments, start_job
from diffenc_jax.core.errors import require

EXAMPLE = "diffenc eval runs/digits-diffenc-seed0 --config.eval.passes=64"
ON_INTERRUPT = "the same command continues from the passes that are saved"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_job_arguments(parser, "eval", "fit", "loss", "ode")


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax import api

    job = start_job(arguments)
    trained = api.open(job.stored, config=job.config)
    evaluator, available = trained.evaluator, trained.checkpoints
    steps, split = job.config.eval.chosen_steps(available), job.config.eval.split
    missing = sorted(set(steps) - set(available))
    require(not missing, f"{job.stored.workdir} has no checkpoint of the steps {missing}; it has {available}")
    for step in steps:
        params = trained.at(step).params
        with watched(job.console, f"evaluating {split} at step {step}", evaluator.num_batches()) as on_batch:
            record = evaluator.record(params, step, job.stored, on_batch=on_batch).record
        job.print_record(record)
        diagnostics: Mapping[str, Any] = record
        for key, text in evaluator.estimator.diagnostic_formats.items():
            if key in diagnostics:
                job.print(f"  {text.format(diagnostics[key])}")

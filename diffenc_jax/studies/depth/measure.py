"""Bits/dim of a run at infinite depth and at several finite depths, with uniform and with fitted steps."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.evaluation.fit import Fit
from diffenc_jax.runs.records import Evaluation, with_values
from diffenc_jax.runs.trained import Trained
from diffenc_jax.studies.depth.table import CHOICES, FOLDER, INFINITE


def measure_depths(
    run: Trained, depths: Sequence[int], passes: int, on_record: Callable[[str], None] = lambda text: None
) -> dict[tuple[Any, str], Evaluation]:
    """Evaluations by depth and choice of steps, under common noise; finished evaluations in the workdir are used again.

    Args:
      run: opened with its training images, on which times and ratios are fitted.
      depths: increasing.
      passes: upper limit of the passes over the images; a depth T takes at most 2 T. Infinite depth, from which
        everything else is measured, takes four times as many.
      on_record: called with one line per evaluation.

    Returns:
      The evaluation of `INFINITE` first, then by (depth, name of a choice in `CHOICES`).
    """
    fit = Fit(Evaluator(run).experiment, run.params)

    def evaluate(depth, times, ratio, passes):
        loss = dataclasses.replace(run.model.loss, depth=depth, variance_ratio=ratio, times=times)
        evaluator = Evaluator(run, partial(Bound, loss=loss, passes=passes, fit=fit), folder=FOLDER)
        record = evaluator.record(run.params, run.step, run.workdir)
        total = record["bpd"]["total"]
        on_record(f"depth {depth or 'infinite'}, {times} times, ratio {ratio}: {total:.4f} bits/dim")
        return with_values(evaluator.path(run.step, run.workdir), record)

    found = {INFINITE: evaluate(None, "uniform", 1.0, 4 * passes)}
    for depth in depths:
        for name, choice in CHOICES.items():
            found[depth, name] = evaluate(depth, *choice, min(2 * depth, passes))
    return found

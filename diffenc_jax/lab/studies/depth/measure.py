"""Bits/dim of a run at infinite depth and at several finite depths, with uniform and with fitted steps."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.evaluation.fit import Fit
from diffenc_jax.lab.studies.depth.table import CHOICES, FOLDER, INFINITE, PLAIN
from diffenc_jax.lab.studies.sweep import UNWATCHED, Watch
from diffenc_jax.runs.files import exists
from diffenc_jax.runs.records import Evaluation, with_values
from diffenc_jax.runs.trained import Trained


def measure_depths(
    run: Trained,
    depths: Sequence[int],
    choices: Sequence[str],
    passes: int,
    on_record: Callable[[str], None] = lambda text: None,
    watch: Watch = UNWATCHED,
) -> dict[tuple[Any, str], Evaluation]:
    """Evaluations by depth and choice of steps, under common noise; finished ones in the workdir are used again.

    Raises InputError if a depth is too large, or the run has no error head and a choice needs one.

    Args:
      run: opened with its training images, on which times and ratios are fitted.
      depths: increasing.
      choices: names in `CHOICES`; `PLAIN` is always among them.
      passes: upper limit of the passes over the images; a depth T takes at most 2 T. Infinite depth, from which
        everything else is measured, takes four times as many.
      on_record: called with one line per evaluation.
      watch: context manager around all evaluations.

    Returns:
      The evaluation of `INFINITE` first, then by (depth, name of a choice in `CHOICES`).
    """
    run.model.check_depth("--depths", max(depths))
    fit = Fit(Evaluator(run).experiment, run.params)

    def evaluator(depth, times, ratio, passes):
        changes = {"loss.depth": depth, "loss.variance_ratio": ratio, "loss.times": times}
        loss = run.config.replace(changes).loss
        return Evaluator(run, partial(Bound, loss=loss, passes=passes, fit=fit), folder=FOLDER)

    evaluators = {INFINITE: evaluator(None, "uniform", 1.0, 4 * passes)}
    for depth, name in product(depths, dict.fromkeys((PLAIN, *choices))):
        evaluators[depth, name] = evaluator(depth, *CHOICES[name], min(2 * depth, passes))
    missing = [one for one in evaluators.values() if not exists(one.path(run.params, run.step, run.workdir))]
    found = {}
    with watch("depth study", sum(one.num_batches() for one in missing)) as on_batch:
        for key, one in evaluators.items():
            record = one.record(run.params, run.step, run.workdir, on_batch=on_batch)
            found[key] = with_values(one.path(run.params, run.step, run.workdir), record)
            times, ratio = one.estimator.loss.times, one.estimator.loss.variance_ratio
            on_record(f"depth {key[0]}, {times} times, ratio {ratio}: {record['bpd']['total']:.4f} bits/dim")
    return found

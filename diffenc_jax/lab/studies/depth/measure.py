"""Bits/dim of a run at infinite depth and at several finite depths, with uniform and with fitted steps."""

from functools import partial
from itertools import product

from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.evaluation.fit import Fit
from diffenc_jax.evaluation.uncertainty import difference
from diffenc_jax.lab.studies.depth.study import PLAIN, TIMES, Arguments, Depths
from diffenc_jax.lab.studies.study import Watch
from diffenc_jax.lab.studies.sweep import evaluated
from diffenc_jax.runs.records import Evaluation
from diffenc_jax.runs.trained import Trained

FOLDER = "depth-records"
INFINITE = (0, "")


def measure_depths(run: Trained, arguments: Arguments, watch: Watch) -> Depths:
    """Bits/dim by depth and choice of steps, under common noise; finished records in the workdir are used again.

    Raises InputError if a depth is too large, or the run has no error head and a choice needs one.

    Args:
      run: opened with its training images, on which times and ratios are fitted.
    """
    run.model.check_depth("--depths", max(arguments.depths))
    fit = Fit(Evaluator(run).experiment, run.params)

    def evaluator(depth, times, ratio, passes):
        changes = {"loss.depth": depth, "loss.variance_ratio": ratio, "loss.times": times}
        loss = run.config.replace(changes).loss
        return Evaluator(run, partial(Bound, loss=loss, passes=passes, fit=fit), folder=FOLDER)

    evaluators = {INFINITE: evaluator(None, "uniform", 1.0, 4 * arguments.passes)}
    for depth, name in product(sorted(arguments.depths), dict.fromkeys((PLAIN, *arguments.choices))):
        evaluators[depth, name] = evaluator(depth, *steps_of(name), min(2 * depth, arguments.passes))
    evaluations = {}
    with watch("bits/dim by depth", sum(one.num_batches() for one in evaluators.values())) as on_batch:
        for key, one in evaluators.items():
            evaluations[key] = evaluated(one, run, on_batch)
    return excess_of(evaluations.pop(INFINITE), evaluations)


def steps_of(choice: str) -> tuple[str, float | str]:
    """`loss.times` and `loss.variance_ratio` of a choice of steps."""
    ratio = choice.removesuffix(TIMES)
    return "optimal" if choice.endswith(TIMES) else "uniform", 1.0 if ratio == PLAIN else ratio


def excess_of(infinite: Evaluation, evaluations: dict[tuple[int, str], Evaluation]) -> Depths:
    """The excess of evaluations by (depth, choice) over that at infinite depth, all of the same images.

    Depths differ in their passes, so their noise is not common to them and only the images are paired.
    """
    differences = {
        key: difference(one.bits, infinite.bits, one.replicates, infinite.replicates, common_noise=False)
        for key, one in evaluations.items()
    }
    rows = []
    for (depth, choice), (excess, error) in differences.items():
        bpd, kept = float(evaluations[depth, choice].bits.mean()), excess / differences[depth, PLAIN].mean
        row = {"depth": depth, "choice": choice, "bpd": bpd}
        rows.append(row | {"excess": excess, "excess_se": error.total, "kept": kept})
    return Depths(float(infinite.bits.mean()), rows)

"""Finite depth: the cost of a finite number of steps, and the share that fitted times and variance ratios recover."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from etils import epy

from diffenc_jax.core.document import Table
from diffenc_jax.core.keys import Keyed, count, key
from diffenc_jax.core.numbers import Figure, format_number, with_error
from diffenc_jax.lab.figures.charts import Board, Chart, Panel, with_errors
from diffenc_jax.lab.studies.study import EVERY_STUDY, Config, Measured, Rows, Study, TrainedRun, Watch

with epy.lazy_imports():  # help and the report need none of them
    from diffenc_jax.evaluation import bound, evaluator, fit, uncertainty
    from diffenc_jax.lab.studies import sweep
    from diffenc_jax.runs import records

FOLDER = "depth-records"
INFINITE = (0, "")
PLAIN = "1"  # the choice of which the others keep a part: uniform times and ratio 1
TIMES = "+times"
STUDIED = (PLAIN, "optimal_pixel", "optimal_estimate")  # ratios that are studied unless others are asked for
BARS = "bars: ±2 standard errors over images and noise, paired by image with infinite depth"
MEANINGS = rf"ratio $\sigma_Q^2/\sigma_P^2$ of a step, with uniform times or with the best (+times); {BARS}"


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    depths: tuple[int, ...] = count((5, 10, 20, 50, 100, 250, 1000), "numbers of steps")
    choices: tuple[str, ...] = key(
        tuple(f"{ratio}{ending}" for ratio in STUDIED for ending in ("", TIMES)),
        "ratios: values of loss.variance_ratio, for uniform times or with +times for the best times; 1 is always there",
    )
    passes: int = count(
        64, "most passes over the images at a depth T, which takes at most 2 T; infinite depth takes four times as many"
    )


@dataclass
class Depths:
    """Bits/dim at infinite depth, and rows for finite depths and choices of steps.

    Entries of a row: depth, choice, bpd, excess (bits/dim above infinite depth), excess_se (the standard error of
    excess over images and noise, paired by image), and kept (the excess divided by the excess with uniform times and
    ratio 1).
    """

    infinite: float
    rows: Rows

    def tables(self) -> list[Table]:
        """The rows."""
        lines = []
        for row in self.rows:
            excess, kept = with_error(row["excess"], row["excess_se"]), Figure("{:.2f}", row["kept"])
            lines.append([row["depth"], row["choice"], format_number(row["bpd"]), excess, kept])
        heads = ["depth", "choice", "bits/dim", "above infinite depth", "part kept"]
        caption = f"bits/dim by depth and variance ratio; infinite depth: {self.infinite:.4f}"
        return [Table(heads, lines, caption, "bits/dim")]

    def sentence(self) -> str:
        """'excess kept at T=50: 0.31', for the last choice at the largest depth."""
        last = max(self.rows, key=lambda row: row["depth"])
        kept = [row["kept"] for row in self.rows if row["depth"] == last["depth"]][-1]
        return f"excess kept at T={last['depth']}: {kept:.2f}"


class DepthStudy(Study[Arguments, Depths]):
    """Measure bits/dim of a trained run by number of steps, with uniform and with fitted times and variance ratios.

    Evaluates the newest checkpoint at infinite depth and at every given depth. At a given depth it uses three ratios of
    the path's variance in a step to the model's variance (loss.variance_ratio): 1, the best ratio per step and pixel
    (arXiv 2310.19789, section 3.3), and the best function of the pixel's estimate; each with times uniform in t and
    with the best times (+times). A run with an error head can also have learned_error. Times and ratios are fitted on
    training images. All evaluations use `eval.split` and the same seed of the noise. Differences to infinite depth are
    paired by image. Records of finished evaluations are kept in RUN/depth-records and read again, so that the same
    command resumes an interrupted study. All depths and choices take about 2,000 passes over the images, and
    --depths=50 --choices=1 about 300.
    """

    name = "depth-study"
    title = "Finite depth"
    EXAMPLE = "diffenc depth-study runs/digits-vdm-seed0 --depths=5,10,50"
    ON_INTERRUPT = "finished records are kept; the same command continues from there"
    arguments = Arguments
    result = Depths
    reads = (*EVERY_STUDY, "eval.dtype", "eval.seed", "fit")

    def changes(self, stored: Config, given: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
        return given | {"eval.estimator": "bound", "eval.num_draws": 1}

    def measure(self, run: TrainedRun, arguments: Arguments, watch: Watch) -> Depths:
        """Bits/dim by depth and choice of steps, under common noise; finished records in the workdir are used again.

        Raises InputError if a depth is too large, or the run has no error head and a choice needs one.
        """
        run.model.check_depth("--depths", max(arguments.depths))
        fitted = fit.Fit(evaluator.Evaluator(run).run, run.params)

        def evaluator_at(depth, times, ratio, passes):
            changes = {"loss.depth": depth, "loss.variance_ratio": ratio, "loss.times": times}
            loss = run.config.replace(changes).loss
            estimator = partial(bound.Bound, loss=loss, passes=passes, fit=fitted)
            return evaluator.Evaluator(run, estimator, folder=FOLDER)

        evaluators = {INFINITE: evaluator_at(None, "uniform", 1.0, 4 * arguments.passes)}
        for depth, name in product(sorted(arguments.depths), dict.fromkeys((PLAIN, *arguments.choices))):
            evaluators[depth, name] = evaluator_at(depth, *steps_of(name), min(2 * depth, arguments.passes))
        with watch("bits/dim by depth", sum(one.num_batches() for one in evaluators.values())) as on_batch:
            evaluations = {key: sweep.evaluated(one, run, on_batch) for key, one in evaluators.items()}
        return excess_of(evaluations.pop(INFINITE), evaluations)

    def figures(self, shown: Sequence[Measured[Depths]]) -> dict[str, Chart | Board]:
        (measured,) = shown
        by_choice: dict[str, Rows] = {}
        for row in measured.result.rows:
            by_choice.setdefault(row["choice"], []).append(row)
        curves = [
            with_errors(name, rows, "depth", "excess", dashed=not name.endswith(TIMES))
            for name, rows in by_choice.items()
        ]
        panel = Panel("bits/dim above infinite depth", curves, from_zero=False, logarithmic=True)
        caption = f"the cost of a finite depth; {BARS}"
        return {"": Chart(caption, "depth $T$ (steps)", [panel], MEANINGS, logarithmic=True, bars=True)}


def steps_of(choice: str) -> tuple[str, float | str]:
    """`loss.times` and `loss.variance_ratio` of a choice of steps."""
    ratio = choice.removesuffix(TIMES)
    return "optimal" if choice.endswith(TIMES) else "uniform", 1.0 if ratio == PLAIN else ratio


def excess_of(infinite: "records.Evaluation", evaluations: "dict[tuple[int, str], records.Evaluation]") -> Depths:
    """The excess of evaluations, by (depth, choice), over the evaluation at infinite depth, for the same images.

    Depths differ in their numbers of passes, so their noise is not common, and only the images are paired.
    """
    differences = {
        key: uncertainty.difference(one.bits, infinite.bits, one.replicates, infinite.replicates, common_noise=False)
        for key, one in evaluations.items()
    }
    rows = []
    for (depth, choice), (excess, error) in differences.items():
        bpd, kept = float(evaluations[depth, choice].bits.mean()), excess / differences[depth, PLAIN].mean
        row = {"depth": depth, "choice": choice, "bpd": bpd}
        rows.append(row | {"excess": excess, "excess_se": error.total, "kept": kept})
    return Depths(float(infinite.bits.mean()), rows)

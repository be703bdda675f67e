"""The cost of a finite number of steps: its study, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.core.numbers import with_error
from diffenc_jax.lab.studies.charts import Board, Chart, Panel, with_errors
from diffenc_jax.lab.studies.study import EVERY_STUDY, Measured, Rows, Study, Watch, option

if TYPE_CHECKING:
    from diffenc_jax.config import Config
    from diffenc_jax.runs.trained import Trained

PLAIN = "1"  # the choice of which the others keep a part: uniform times and ratio 1
TIMES = "+times"
CAPTION = "bits/dim above infinite depth ± standard error (part of the excess that is kept), by variance ratio"
BARS = "bars: ±2 standard errors over images and noise, paired by image with infinite depth"
MEANINGS = (
    r"ratio $\sigma_Q^2/\sigma_P^2$ of the variance of the path to the model's in a step, with uniform times or with "
    f"the best (+times); {BARS}"
)
# The depth of the sentence, where it is among those studied.
REFERENCE_DEPTH = 50


def choices() -> list[str]:
    """Names of all choices of steps: '1', '1+times', 'optimal_pixel', 'optimal_pixel+times', ..."""
    from diffenc_jax.config.sections import FITTED_RATIOS, LEARNED_ERROR

    return [f"{ratio}{ending}" for ratio in (PLAIN, *FITTED_RATIOS, LEARNED_ERROR) for ending in ("", TIMES)]


@dataclass(frozen=True)
class Arguments:
    """Arguments of the study; without choices, those of 1, the pixel, the estimate and the error head, if any."""

    depths: tuple[int, ...] = option((5, 10, 20, 50, 100, 250, 1000), "numbers of steps", "T,...")
    choices: tuple[str, ...] = option(
        (),
        "ratios to study beside 1: values of loss.variance_ratio, for uniform times or with +times for the best times, "
        "such as optimal_estimate+times (default: 1, optimal_pixel, optimal_estimate, and learned_error for a run with "
        "an error head, each with both)",
        "CHOICE,...",
    )
    passes: int = option(
        64, "most passes over the images at a finite depth T, which takes at most 2 T; infinite depth takes 4 P", "P"
    )

    def __post_init__(self) -> None:
        for name in self.choices:
            require(name in choices(), f"argument --choices: {name!r} is not one of {', '.join(choices())}")


@dataclass
class Depths:
    """Bits/dim at infinite depth, and rows for finite depths and choices of steps.

    Attributes of a row: depth, choice, bpd, excess (bits/dim above infinite depth), excess_se (its standard error over
    images and noise, paired by image), and kept (the excess divided by that of uniform times and ratio 1).
    """

    infinite: float
    rows: Rows

    def by_depth(self) -> dict[int, dict[str, dict[str, Any]]]:
        """The rows by depth and choice."""
        found: dict[int, dict[str, dict[str, Any]]] = {}
        for row in self.rows:
            found.setdefault(row["depth"], {})[row["choice"]] = row
        return found

    def tables(self) -> list[Table]:
        """Tables for uniform times and for the best, where both were studied: a line per depth, a column per ratio."""
        tables, by_depth = [], self.by_depth()
        for times, best in {"uniform times": False, "the best times": True}.items():
            names = [name for name in next(iter(by_depth.values())) if name.endswith(TIMES) == best]
            lines = [[depth, *(_cell(found[name]) for name in names)] for depth, found in by_depth.items()]
            heads = ["depth", *(name.removesuffix(TIMES) for name in names)]
            tables.append(Table(heads, lines, f"{times}: {CAPTION}; infinite depth: {self.infinite:.4f}"))
        return [table for table in tables if len(table.heads) > 1]

    def sentence(self) -> str:
        """'excess kept at T=50: 0.31': with the last choice, at `REFERENCE_DEPTH` or else the largest depth."""
        by_depth = self.by_depth()
        depth = REFERENCE_DEPTH if REFERENCE_DEPTH in by_depth else max(by_depth)
        return f"excess kept at T={depth}: {list(by_depth[depth].values())[-1]['kept']:.2f}"


def _cell(row: dict[str, Any]) -> str:
    return f"{with_error(row['excess'], row['excess_se'])} ({row['kept']:.2f})"


class DepthStudy(Study[Arguments, Depths]):
    """Measure bits/dim of a trained run by number of steps, with uniform and with fitted times and variance ratios.

    Evaluates the newest checkpoint at infinite depth and at every given depth, by the ratio of the variance of the path
    in a step to that of the model (loss.variance_ratio): 1, the best one per step and pixel (arXiv 2310.19789, section
    3.3), the best function of the pixel's estimate, and that of the error head for a run that has one; each with times
    uniform in t and with the best times (+times). Times and ratios are fitted on training images. All evaluations are
    of `eval.split`, with noise of one seed, and differences to infinite depth are paired by image. Records of finished
    evaluations are kept in RUN/depth-records and read again, so that an interrupted study is resumed. All depths and
    choices take about 2,000 passes over the images, and --depths=50 --choices=1 about 300.
    """

    name = "depth-study"
    title = "Finite depth"
    example = "diffenc depth-study runs/digits-vdm-seed0 --depths=5,10,50"
    on_interrupt = "finished records are kept; the same command continues from there"
    arguments = Arguments
    result = Depths
    reads = (*EVERY_STUDY, "eval.dtype", "eval.seed", "fit")

    def needs_training_images(self, config: "Config") -> bool:
        return True

    def changes(self, stored: "Config", given: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
        return given | {"eval.estimator": "bound", "eval.num_draws": 1}

    def measure(self, run: "Trained", arguments: Arguments, watch: Watch) -> Depths:
        from diffenc_jax.lab.studies.depth.measure import measure_depths

        return measure_depths(run, arguments, watch)

    def figures(self, shown: Sequence[Measured[Depths]]) -> dict[str, Chart | Board]:
        (measured,) = shown
        by_choice: dict[str, Rows] = {}
        for row in measured.result.rows:
            by_choice.setdefault(row["choice"], []).append(row)
        ratios = list(dict.fromkeys(name.removesuffix(TIMES) for name in by_choice))
        looks = {n: {"colour": ratios.index(n.removesuffix(TIMES)), "dashed": not n.endswith(TIMES)} for n in by_choice}
        curves = [with_errors(name, rows, "depth", "excess", **looks[name]) for name, rows in by_choice.items()]
        panel = Panel("bits/dim above infinite depth", curves, from_zero=False, logarithmic=True)
        caption = f"the cost of a finite depth; {BARS}"
        return {"": Chart(caption, "depth $T$ (steps)", [panel], MEANINGS, logarithmic=True, bars=True)}

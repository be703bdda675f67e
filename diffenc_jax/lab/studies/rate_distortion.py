"""Rate and distortion: the bits sent so far on the way from noise to data, and the error of the estimated image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etils import epy

from diffenc_jax.core.document import Table
from diffenc_jax.core.keys import Keyed, count
from diffenc_jax.core.numbers import Figure, with_error
from diffenc_jax.lab.figures.charts import Board, Chart, Panel, with_errors
from diffenc_jax.lab.studies.study import EVERY_STUDY, Config, Measured, Rows, Study, TrainedRun, Watch

with epy.lazy_imports():  # help and the report do without
    from diffenc_jax.lab.studies import progressive

# Number of steps for a run at infinite depth.
DEPTH = 100
# Number of rows that are printed, and the last two.
PRINTED = 5
SHOWN = "the image shown at z_t is the model's estimate of x, or x̂ where a trained encoder does not determine one"


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    depth: int | None = count(None, "number of steps", none=f"loss.depth of the run, or {DEPTH} if that is infinite")


@dataclass
class Rates:
    """Rate and distortion after each step.

    Attributes:
      rows: a row per z_t from the noise to the data, and a row for the pixels. Entries: steps, the number of received
        steps; gamma of z_t, None in the last row; rate in bits/dim; rmse, the root mean squared error over images and
        pixels on a scale of 0 .. 255; and the standard errors of rate and rmse over images and noise (_se).
    """

    rows: Rows

    def tables(self) -> list[Table]:
        """Some of the rows, and the last two: z_0 and the pixels."""
        *others, last, pixels = self.rows
        lines = []
        for row in [*others[:: max(1, len(others) // PRINTED)], last, pixels]:
            gamma = "pixels" if row["gamma"] is None else Figure("{:.2f}", row["gamma"])
            rmse = Figure("{:.2f} ± {:.2f}", row["rmse"], row["rmse_se"])
            lines.append([row["steps"], gamma, with_error(row["rate"], row["rate_se"]), rmse])
        caption = f"rate and distortion ± standard error; RMSE on a scale of 0 .. 255; {SHOWN}"
        return [Table(["steps", "γ", "bits/dim", "RMSE"], lines, caption)]

    def sentence(self) -> str:
        """'bound of 50 steps: 1.9123 ± 0.0131 bits/dim'."""
        last = self.rows[-1]
        return f"bound of {last['steps']} steps: {with_error(last['rate'], last['rate_se'])} bits/dim"


class RateDistortion(Study[Arguments, Rates]):
    """Measure the error of the reconstructed image by the number of bits received so far.

    The bound is the length of a code that sends noise, then step by step less noisy images, and last the pixels.
    Measures after each of these steps the rate (bits/dim sent so far) and the distortion (error of the model's current
    estimate of the image, RMSE for pixels of 0 to 255), on all images of `eval.split`. The last rate is the bound at
    that depth. The figure is the curve.

    --config.key=value changes how the run is evaluated, such as --config.loss.times=optimal for the best times, which
    are fitted on training images.
    """

    name = "rate-distortion"
    title = "Rate and distortion"
    EXAMPLE = """\
diffenc rate-distortion runs/digits-vdm-seed0 --depth=50 \\
    --config.loss.times=optimal"""
    arguments = Arguments
    result = Rates
    reads = (*EVERY_STUDY, "eval.dtype", "eval.passes", "eval.seed", "fit", "loss")

    def changes(self, stored: Config, given: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
        return given | {"loss.depth": arguments.depth or given.get("loss.depth") or stored.loss.depth or DEPTH}

    def measure(self, run: TrainedRun, arguments: Arguments, watch: Watch) -> Rates:
        with watch(f"rate and distortion over {run.config.loss.depth} steps", 1.0) as on_part:
            return Rates(progressive.rows_of_rates(progressive.measure_rates(run, on_part)))

    def figures(self, shown: Sequence[Measured[Rates]]) -> dict[str, Chart | Board]:
        (measured,) = shown
        curve = with_errors(measured.name, measured.result.rows, "rate", "rmse", arm=measured.arm)
        note = f"{SHOWN}; bands: ±2 standard errors over images and noise"
        caption = f"the error of the image shown against the bits/dim that have been received; {note}"
        return {"": Chart(caption, "rate (bits/dim)", [Panel("RMSE (pixels 0 .. 255)", [curve])], note)}

"""The error of images by the bits received: its study, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffenc_jax.core.document import Table
from diffenc_jax.core.numbers import UNKNOWN, with_error
from diffenc_jax.lab.studies.charts import Board, Chart, Panel, with_errors
from diffenc_jax.lab.studies.study import EVERY_STUDY, Array, Measured, Rows, Study, Watch, option

if TYPE_CHECKING:
    from diffenc_jax.config import Config
    from diffenc_jax.runs.trained import Trained

# Number of steps for a run at infinite depth.
DEPTH = 100
BANDS = "bands: ±2 standard errors over images and noise"
# What is shown, by whether it is an estimate of x.
SHOWN = {
    True: "the image shown at z_t is the model's estimate of x",
    False: "the image shown at z_t is x̂, an estimate of the encoded image x_t and not of x",
}


@dataclass(frozen=True)
class Arguments:
    """Arguments of the study."""

    depth: int | None = option(
        None, f"number of steps (default: loss.depth of the run, or {DEPTH} if that is infinite)", "T"
    )
    passes: int | None = option(None, "passes over the images (default: eval.passes of the run)", "P")


@dataclass
class Rates:
    """Rate and distortion after each step.

    Attributes:
      rows: a row per z_t from the noise to the data, and one for the pixels: steps that are received; gamma of z_t,
        None in the last row; rate in bits/dim; rmse, the root of the mean squared error over images and pixels on a
        scale of 0 .. 255; psnr, 20 log10(255 / rmse) in dB, None where the error is zero; and the standard error over
        images and noise of each of these three (_se).
      steps: times and ratio of the steps.
      estimates_x: whether the image shown is the model's estimate of x. Otherwise it is x̂, an estimate of x_t, and its
        error against x contains the encoder's x_t - x.
      numbers: of the z_t at evenly spaced rates, increasing.
      pictures: [1 + numbers, n, H, W, C] the first images, and those shown for them at `numbers`, in -1 .. 1.
    """

    rows: Rows
    steps: str
    estimates_x: bool
    numbers: list[int]
    pictures: Array

    def tables(self) -> list[Table]:
        """The rows at even rates, and the last two: z_0 and the pixels."""
        lines = []
        for number in dict.fromkeys([*self.numbers, len(self.rows) - 2, len(self.rows) - 1]):
            row = self.rows[number]
            gamma = "pixels" if row["gamma"] is None else f"{row['gamma']:.2f}"
            psnr = UNKNOWN if row["psnr"] is None else f"{row['psnr']:.2f} ± {row['psnr_se']:.2f}"
            rmse = f"{row['rmse']:.2f} ± {row['rmse_se']:.2f}"
            lines.append([row["steps"], gamma, with_error(row["rate"], row["rate_se"]), rmse, psnr])
        heads = ["steps", "γ", "bits/dim", "RMSE", "PSNR (dB)"]
        caption = f"rate and distortion ± standard error; RMSE on a scale of 0 .. 255; {SHOWN[self.estimates_x]}"
        return [Table(heads, lines, caption)]

    def sentence(self) -> str:
        """'bound of 50 steps: 1.9123 ± 0.0131 bits/dim'."""
        last = self.rows[-1]
        return f"bound of {last['steps']} steps: {with_error(last['rate'], last['rate_se'])} bits/dim"


class RateDistortion(Study[Arguments, Rates]):
    """Measure the error of the reconstructed image by the number of bits received so far.

    The bound is the length of a code that sends noise, then step by step less noisy images, and last the pixels.
    Measures after each of these steps the rate, bits/dim sent so far, and the distortion, the error of the image that
    the model then estimates (RMSE for pixels of 0 to 255, and PSNR in dB), on all images of `eval.split`. The last rate
    is the bound at that depth. The figures are the curve, and the first images with those shown for them at five rates.

    --config.key=value changes how the run is evaluated, such as --config.loss.times=optimal for the best times, which
    are fitted on training images.
    """

    name = "rate-distortion"
    title = "Rate and distortion"
    example = """\
diffenc rate-distortion runs/digits-vdm-seed0 --depth=50 \\
    --config.loss.times=optimal"""
    arguments = Arguments
    result = Rates
    reads = (*EVERY_STUDY, "eval.dtype", "eval.seed", "fit", "loss")

    def needs_training_images(self, config: "Config") -> bool:
        return config.loss.is_fitted

    def changes(self, stored: "Config", given: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
        depth = arguments.depth or given.get("loss.depth") or stored.loss.depth or DEPTH
        return given | {"loss.depth": depth} | ({"eval.passes": arguments.passes} if arguments.passes else {})

    def measure(self, run: "Trained", arguments: Arguments, watch: Watch) -> Rates:
        from diffenc_jax.lab.studies.rate_distortion import measure

        with watch(f"rate and distortion over {run.config.loss.depth} steps", 1.0) as on_part:
            values = measure.measure_rate_distortion(run, measure.IMAGES, on_part)
        return measure.summarize(values, run.config.loss, run.model.spec.pixel_levels)

    def figures(self, shown: Sequence[Measured[Rates]]) -> dict[str, Chart | Board]:
        (measured,) = shown
        result, name = measured.result, measured.name
        panels = [
            Panel(label, [with_errors(name, result.rows, "rate", key, arm=measured.arm)], from_zero=False)
            for key, label in {"rmse": "RMSE (pixels 0 .. 255)", "psnr": "PSNR (dB)"}.items()
        ]
        note = f"{SHOWN[result.estimates_x]}; {result.steps}; {BANDS}"
        caption = f"the error of the image shown against the bits/dim that have been received; {note}"
        curves = Chart(caption, "rate (bits/dim)", panels, note)
        if result.pictures[0, 0].size < 4:  # a point of two coordinates is no picture
            return {"": curves}
        names = [f"{result.rows[n]['rate']:.2f} bits/dim\nRMSE {result.rows[n]['rmse']:.1f}" for n in result.numbers]
        heads, caption = [""] * result.pictures.shape[1], "images, and below them those shown after so many bits"
        return {"": curves, "images": Board(caption, ["original", *names], heads, [result.pictures], caption)}
